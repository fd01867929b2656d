"""The operations listener: `/healthz` (alive), `/readyz` (ready for requests) and `/metrics`.

Liveness never depends on the store: a restart would not bring the store back, and would lose the
cached keys.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.utils import formatdate
from typing import Any, Final, cast

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from authz.console.http_connections import EXCHANGE_SECONDS, HttpConnections
from authz.console.simple_get import SimpleGet
from authz.core.listen_address import Address
from authz.process.listener import SOCKET_MODE, Listener

SETTING: Final = "ops.listen"
BACKLOG: Final = 128
PAGE_SECONDS: Final = 1.0  # for which a page of metrics is served again
MAX_FORMS: Final = 2  # of the page, beside the default form

Readiness = Callable[[], tuple[bool, Mapping[str, Any]]]
MetricsPage = Callable[[str], tuple[bytes, str]]
"""Returns a page and its content type, given the Accept header."""


class OperationsServer:
    """Serves liveness, readiness and metrics over HTTP. Bound at once; it answers from `start` on.

    address: to bind; afterwards the one in use, with its real port. Raises BadInput, which names
    `setting`, if it cannot be used. routes: more pages. otherwise: answers the other paths; without
    it they are plain 404s. exchange_seconds: the time for one request with its response.
    """

    def __init__(
        self,
        address: Address,
        version: str,
        socket_mode: int = SOCKET_MODE,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        setting: str = SETTING,
        routes: Sequence[BaseRoute] = (),
        otherwise: ASGIApp | None = None,
        exchange_seconds: float = EXCHANGE_SECONDS,
    ) -> None:
        self._version = version
        self._monotonic = monotonic
        self._readiness: Readiness = lambda: (False, {})
        self._page: MetricsPage | None = None
        self._pages: dict[str, _Rendered] = {}  # by the Accept header
        self._alive = JSONResponse({"status": "ok", "version": version})
        self._rendering = asyncio.Lock()
        self._connections = HttpConnections(exchange_seconds, self._ready)
        own = {"/healthz": self._healthz, "/readyz": self._readyz, "/metrics": self._metrics}
        pages = [Route(path, respond) for path, respond in own.items()]
        app = Starlette(routes=[*pages, *routes])
        if otherwise is not None:
            app.router.default = otherwise
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,  # every local client could name any address
            lifespan="off",
            ws="none",
            http=cast("type[asyncio.Protocol]", self._connections.protocol),
            timeout_graceful_shutdown=1,
            backlog=BACKLOG,
        )
        self._server = _EmbeddedServer(config)
        self._listener = Listener(address, setting, socket_mode)
        self.address = self._listener.address
        self._task: asyncio.Task[None] | None = None

    def report(self, readiness: Readiness) -> None:
        """Serve what `readiness` returns at /readyz: 200 if ready, 503 if not, with the components.

        It is called for each request. Until then /readyz says not ready, without components.
        """
        self._readiness = readiness

    def publish(self, page: MetricsPage | None) -> None:
        """Serve this page at /metrics. With None, as at the start, /metrics answers 404.

        A page is served again for at most PAGE_SECONDS (1 s).
        """
        self._page = page

    async def start(self) -> None:
        """Begin to accept connections, and answer them in a task of the running loop.

        The constructor has bound the address already.
        """
        for listener in self._listener.sockets:
            listener.listen(BACKLOG)  # now, because uvicorn does so in a task
        self._task = asyncio.create_task(self._server.serve(self._listener.sockets))

    async def stop(self) -> None:
        """Remove the path of a Unix socket, end the server, and close the sockets.

        Requests in progress have 1 s. Without `start` only the sockets are closed.
        """
        self._listener.remove_path()
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        self._listener.close()

    async def _healthz(self, _request: Request) -> JSONResponse:
        return self._alive

    async def _readyz(self, _request: Request) -> Response:
        ready, components = self._readiness()
        status = "ready" if ready else "not_ready"
        body = {"status": status, "version": self._version, "components": dict(components)}
        # A reason may quote a store whose texts are no UTF-8: as ASCII, every text can be sent.
        content = json.dumps(body, separators=(",", ":"))
        return Response(content, 200 if ready else 503, media_type="application/json")

    async def _metrics(self, request: Request) -> Response:
        if self._page is None:
            return Response("telemetry.metrics is off\n", 404, media_type="text/plain")
        accept = request.headers.get("accept", "")
        return (await self._rendered(self._page, accept)).response

    async def _rendered(self, render: MetricsPage, accept: str) -> "_Rendered":
        """Return the page for an Accept header, rendered at most PAGE_SECONDS ago.

        A client chooses the header, so the number of forms is bounded. Above MAX_FORMS, return the
        default format, which every client must accept. Rendering takes ten milliseconds, so a
        thread does it.
        """
        async with self._rendering:
            now = self._monotonic()
            for old in [key for key, page in self._pages.items() if page.is_old(now)]:
                del self._pages[old]
            form = self._form(accept)
            if form not in self._pages:
                page, content_type = await asyncio.to_thread(render, form)
                self._pages[form] = _Rendered(now, page, content_type)
            return self._pages[form]

    def _form(self, accept: str) -> str:
        """Return the Accept header whose page a client gets."""
        forms = len(self._pages) - ("" in self._pages)
        return accept if accept in self._pages or forms < MAX_FORMS else ""

    def _ready(self, request: SimpleGet) -> bytes | None:
        """Return the response to a liveness probe, or to a scrape of a page that is rendered.

        None for every other request.
        """
        if request.path == "/healthz":
            return _whole(self._alive)
        if request.path != "/metrics" or self._page is None:
            return None
        found = self._pages.get(self._form(request.accept))
        return None if found is None or found.is_old(self._monotonic()) else found.whole


class _Rendered:
    """A rendered page: as a response, and as its bytes. at: the time, on the monotonic clock."""

    def __init__(self, at: float, page: bytes, content_type: str) -> None:
        self._at = at
        self.response = Response(page, headers={"content-type": content_type})
        self.whole = _whole(self.response)

    def is_old(self, now: float) -> bool:
        """Return whether it was rendered PAGE_SECONDS ago or earlier."""
        return now - self._at >= PAGE_SECONDS


def _whole(response: Response) -> bytes:
    """Return the bytes of a response of status 200, with the Date of now."""
    head = [b"HTTP/1.1 200 OK", b"date: " + formatdate(usegmt=True).encode()]
    head += [name + b": " + value for name, value in response.raw_headers]
    return b"\r\n".join([*head, b"", bytes(response.body)])


class _EmbeddedServer(uvicorn.Server):
    """A server that installs no signal handlers: the host process has its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
