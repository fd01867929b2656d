"""The page about the sidecars, and its live parts by server-sent events."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from authz.console.pages.api_client import Answer, Call
from authz.console.pages.commands import does
from authz.console.pages.security_headers import HEADERS
from authz.console.pages.visit import Console, Visit

PAUSE: Final = 1.0  # seconds between two looks at the sidecars
SILENCE: Final = 15.0  # seconds without an event, after which a comment keeps the connection
LIFE: Final = 90.0  # seconds of one connection; then the browser opens the next one
PARTS: Final = {"table": "fleet_table.html", "panel": "fleet_panel.html"}
CALL: Final = Call("GET", "/v1/sidecars")


def routes(console: Console) -> list[Route]:
    """Return the routes of the page and of its events."""

    async def events(request: Request) -> Response:
        """Return the events, whose data is a part of a page. They end with the session."""
        first = await console.visit(request)
        if isinstance(first, Response):
            return first
        template = PARTS.get(first.query("part"), PARTS["table"])

        async def now() -> str | None:
            visit = await console.visit(request)
            return None if isinstance(visit, Response) else await _part(visit, template)

        headers = {**HEADERS, "x-accel-buffering": "no"}
        return StreamingResponse(_events(now), 200, headers, "text/event-stream")

    return [Route("/sidecars", console.endpoint(_page)), Route("/sidecars/events", events)]


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


async def _part(visit: Visit, template: str) -> str:
    answer = await visit.api.call(CALL)
    return visit.renderer.part(template, visit, **fleet_values(answer))


async def _events(part: Callable[[], Awaitable[str | None]]) -> AsyncIterator[bytes]:
    """Yield an event for each change of a part, and comments between them, for LIFE (90 s).

    part: returns the part, or None if the session has ended. Then the last event says so, and the
    browser does not come back.
    """
    began, told, last = time.monotonic(), time.monotonic(), ""
    yield b"retry: 2000\n\n"
    while (now := time.monotonic()) - began < LIFE:
        text = await part()
        if text is None:
            yield b"event: over\ndata:\n\n"
            return
        if text != last:
            last, told = text, now
            lines = "".join(f"data: {line}\n" for line in text.splitlines())
            yield f"{lines}\n".encode()
        elif now - told >= SILENCE:
            told = now
            yield b":\n\n"
        await asyncio.sleep(PAUSE)
