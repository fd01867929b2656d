"""Server-sent events: a page learns that keys or sidecars have changed, and reads itself again.

A stream ends after a minute, when its session ends, and with the process. A browser opens it again
by itself. An event has no data of keys.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, Final

from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from authz.console.pages.api_client import Answer, Call
from authz.console.pages.security_headers import HEADERS
from authz.console.pages.visit import Console, Visit

PATH: Final = "/live"
STREAM_SECONDS: Final = 60.0
RETRY: Final = b"retry: 2000\n\n"
EVENT: Final = b"event: change\ndata: 1\n\n"


def routes(console: Console) -> list[Route]:
    """Return the route of the stream."""

    async def live(visit: Visit) -> Response:
        messages = await visit.api.lines(Call("GET", "/v1/changes:watch"))
        if isinstance(messages, Answer):
            return Response(status_code=messages.status, headers=HEADERS)
        events = _events(messages, console, visit)
        return StreamingResponse(events, 200, HEADERS, "text/event-stream")

    return [Route(PATH, console.endpoint(live, keeps_session=False))]


async def _events(
    messages: AsyncGenerator[Mapping[str, Any], None], console: Console, visit: Visit
) -> AsyncIterator[bytes]:
    """Yield an event for each change, and for each sign of life of the API (every 10 s)."""
    loop = asyncio.get_running_loop()
    end = loop.time() + STREAM_SECONDS
    yield RETRY
    async with aclosing(messages):
        async for message in messages:
            if "error" in message or not await console.is_current(visit.request):
                return
            yield EVENT
            if loop.time() > end:
                return
