"""Live parts of pages, by server-sent events: an event is a part anew, as the server renders it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from authz.console.pages.security_headers import HEADERS
from authz.console.pages.visit import Console, Visit

PAUSE: Final = 1.0  # seconds between two looks
SILENCE: Final = 15.0  # seconds without an event, after which a comment keeps the connection
LIFE: Final = 90.0  # seconds of one connection; then the browser opens the next one

Part = Callable[[Visit], Awaitable[str]]


def live_route(console: Console, path: str, part: Part) -> Route:
    """Return the route of the events of a part. They end with the session, and keep none alive."""

    async def events(request: Request) -> Response:
        first = await console.visit(request)
        if isinstance(first, Response):
            return first

        async def now() -> str | None:
            visit = await console.visit(request)
            return None if isinstance(visit, Response) else await part(visit)

        headers = {**HEADERS, "x-accel-buffering": "no"}
        return StreamingResponse(_events(now), 200, headers, "text/event-stream")

    return Route(path, events)


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
