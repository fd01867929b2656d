"""The overview: use, the keys that are used most, the sidecars, and the latest changes."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Route

from authz.console.pages.api_client import Answer
from authz.console.pages.commands import does
from authz.console.pages.fleet import fleet_values
from authz.console.pages.live import live_route
from authz.console.pages.usage_chart import OUTCOMES, SPANS, chart_name, chart_of, usage_call
from authz.console.pages.visit import Console, Visit
from authz.core.access import visible
from authz.core.roles import Action

TOP: Final = 8
NEWEST: Final = 6


def routes(console: Console) -> list[Route]:
    """Return the routes of the page and of its events."""
    return [
        Route("/", console.endpoint(_overview)),
        live_route(console, "/events/latest", _latest_part),
    ]


async def _overview(visit: Visit) -> Response:
    span = chart_name(visit.query("span"))
    top_query = [("limit", str(TOP)), ("month", f"{visit.now:%Y-%m}")]
    call = usage_call(span)
    usage, top, latest, sidecars = await asyncio.gather(
        visit.api.call(call),
        visit.api.get("/v1/usage/topKeys", top_query),
        _latest(visit),
        _if_allowed(visit, Action.READ_FLEET, "/v1/sidecars"),
    )
    newest = latest["newest"]
    if not newest.is_ok and newest.status not in (503, 504):
        return visit.failure(newest)
    return visit.page(
        "overview.html",
        chart=chart_of(span, usage),
        spans=SPANS,
        outcomes=OUTCOMES,
        base="/",
        top=top,
        top_keys=_keys(top),
        **latest,
        **fleet_values(sidecars),
        does=does(["usage"], call),
    )


async def _latest(visit: Visit) -> dict[str, Any]:
    """Return the values of the part with the newest keys and the latest changes."""
    newest, audit = await asyncio.gather(
        visit.api.get("/v1/keys", [("pageSize", str(NEWEST)), ("orderBy", "create_time desc")]),
        _if_allowed(visit, Action.READ_AUDIT, "/v1/auditEntries", ("pageSize", str(NEWEST))),
    )
    return {"newest": newest, "newest_keys": _keys(newest), "audit": audit}


async def _latest_part(visit: Visit) -> str:
    return visit.renderer.part("latest.html", visit, **await _latest(visit))


async def _if_allowed(
    visit: Visit, action: Action, path: str, *query: tuple[str, str]
) -> Answer | None:
    """Return an answer, None if the visitor's roles do not have the action."""
    if visible(visit.session.caller, action).is_empty:
        return None
    return await visit.api.get(path, query)


def _keys(answer: Answer) -> list[Mapping[str, Any]]:
    return list(answer.data.get("keys", ())) if answer.is_ok else []
