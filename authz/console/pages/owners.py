"""The pages about owners of keys: clients, projects and tenants."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Route

from authz.console.pages.api_client import Answer, Call
from authz.console.pages.commands import does
from authz.console.pages.key_filter import KeyFilter
from authz.console.pages.usage_chart import OUTCOMES, SPANS, chart_name, chart_of, usage_call
from authz.console.pages.visit import Console, Visit

KINDS: Final = ("client", "project", "tenant")
TOP: Final = 500
SHOWN: Final = 50


def routes(console: Console) -> list[Route]:
    """Return the routes of the pages."""
    return [
        Route("/owners", console.endpoint(_index)),
        Route("/owners/{kind}", console.endpoint(_one)),
    ]


async def _index(visit: Visit) -> Response:
    call = Call(
        "GET",
        "/v1/usage/topKeys",
        (("limit", str(TOP)), ("month", f"{visit.now:%Y-%m}")),
    )
    top = await visit.api.call(call)
    if top.status == 403:  # noqa: PLR2004
        return visit.failure(top)
    return visit.page(
        "owners.html",
        top=top,
        clients=_by_client(top),
        kinds=KINDS,
        most=TOP,
        does=does(["usage", "top", "--month", f"{visit.now:%Y-%m}", "--limit", str(TOP)], call),
    )


def _by_client(top: Answer) -> list[tuple[str, int, int, int]]:
    """Return client, keys, requests and denied requests, the most used client first."""
    sums: dict[str, list[int]] = {}
    for row in top.data.get("keys", ()) if top.is_ok else ():
        if row.get("clientId"):
            counts: Mapping[str, Any] = row["counts"]
            found = sums.setdefault(row["clientId"], [0, 0, 0])
            found[0] += 1
            found[1] += int(counts.get("requests", 0))
            found[2] += int(counts.get("denied", 0))
    ranked = sorted(sums.items(), key=lambda each: -each[1][1])
    return [(client, *counts) for client, counts in ranked]  # type: ignore[misc]


async def _one(visit: Visit) -> Response:
    kind, owner = visit.request.path_params["kind"], visit.query("id")
    if kind not in KINDS or not owner:
        return visit.redirect("/owners")
    chosen, span = KeyFilter.of([(kind, owner)]), chart_name(visit.query("span"))
    asked = usage_call(span)
    usage_by_filter = Call("GET", asked.path, (("filter", chosen.text), *asked.query))
    call = Call("GET", "/v1/keys", (("pageSize", str(SHOWN)), ("filter", chosen.text)))
    usage, keys = await asyncio.gather(visit.api.call(usage_by_filter), visit.api.call(call))
    if not keys.is_ok:
        return visit.failure(keys, "/owners")
    return visit.page(
        "owner.html",
        kind=kind,
        owner=owner,
        keys=keys.data.get("keys", ()),
        has_more=bool(keys.data.get("nextPageToken")),
        chosen=chosen,
        chart=chart_of(span, usage),
        spans=SPANS,
        outcomes=OUTCOMES,
        does=does(["keys", "list", *chosen.options()], call),
    )
