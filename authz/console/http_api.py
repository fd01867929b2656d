"""Serve an HttpHandler with Starlette: plain requests in, plain responses out."""

import asyncio
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from authz.core.http_exchange import HttpHandler, HttpRequest

MAX_FIELDS: Final = 200  # of a query


class HttpApi:
    """An ASGI application that hands every request to `handler`.

    max_body: in bytes. The handler gets at most one byte more, so that it can refuse the request.
    seconds: for a request to arrive; None: as long as its connection may take.
    """

    def __init__(self, handler: HttpHandler, max_body: int, seconds: float | None = None) -> None:
        self._handler = handler
        self._max_body = max_body
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                request = await _request(Request(scope, receive), self._max_body)
        except ClientDisconnect:
            return
        except TimeoutError:
            await Response(status_code=HTTPStatus.REQUEST_TIMEOUT)(scope, receive, send)
            return
        except ValueError:
            await Response(status_code=HTTPStatus.BAD_REQUEST)(scope, receive, send)
            return
        answer = await self._handler(request)
        headers = dict(answer.headers)
        if isinstance(answer.body, bytes):
            response = Response(answer.body, answer.status, headers)
        else:
            response = StreamingResponse(answer.body, answer.status, headers)
        await response(scope, receive, send)


async def _request(request: Request, max_body: int) -> HttpRequest:
    """Return a request. Raises ValueError for a query of more than MAX_FIELDS (200) fields."""
    body = bytearray()
    async for part in request.stream():
        body += part[: max_body + 1 - len(body)]
        if len(body) > max_body:
            break
    query = request.scope["query_string"].decode("latin-1")
    return HttpRequest(
        request.method,
        request.scope["raw_path"].decode("latin-1"),
        tuple(parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_FIELDS)),
        tuple(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw
        ),
        bytes(body),
        request.client.host if request.client else "",
    )
