"""The page about the sidecars, and its live parts by server-sent events."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Route

from authz.console.pages.api_client import Answer, Call
from authz.console.pages.commands import does
from authz.console.pages.live import live_route
from authz.console.pages.visit import Console, Visit

PARTS: Final = {"table": "fleet_table.html", "panel": "fleet_panel.html"}
CALL: Final = Call("GET", "/v1/sidecars")


def routes(console: Console) -> list[Route]:
    """Return the routes of the page and of its events."""
    return [
        Route("/sidecars", console.endpoint(_page)),
        live_route(console, "/sidecars/events", _part),
    ]


async def _page(visit: Visit) -> Response:
    answer = await visit.api.call(CALL)
    if answer.status == 403:  # noqa: PLR2004
        return visit.failure(answer)
    return visit.page("sidecars.html", **fleet_values(answer), does=does(["sidecars"], CALL))


def fleet_values(answer: Answer | None) -> dict[str, Any]:
    """Return the values of the parts about sidecars. None: the visitor may not see them."""
    found: list[Mapping[str, Any]] = []
    if answer is not None and answer.is_ok:
        found = list(answer.data.get("sidecars", ()))
    return {"sidecars": answer, "trusted": [each for each in found if each.get("trusted")]}


async def _part(visit: Visit) -> str:
    template = PARTS.get(visit.query("part"), PARTS["table"])
    return visit.renderer.part(template, visit, **fleet_values(await visit.api.call(CALL)))
