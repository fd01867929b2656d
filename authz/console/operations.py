"""The operations listener: `/healthz` (the process turns), `/readyz` (it may be asked), `/metrics`.

Liveness never depends on the store: restarting a sidecar does not bring a store back, and loses
what it remembers.
"""

import asyncio
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from authz.core.errors import BadInput
from authz.core.listen_address import Address

Readiness = Callable[[], tuple[bool, Mapping[str, Any]]]
Page = Callable[[str], tuple[bytes, str]]
"""A page and its content type, by what the client accepts."""


class OperationsServer:
    """Serves health and readiness. Raises BadInput when the address cannot be used."""

    def __init__(self, address: Address, version: str) -> None:
        self._readiness: Readiness = lambda: (False, {})
        self._metrics: Page | None = None

        async def healthz(_request: Request) -> JSONResponse:
            return JSONResponse({"status": "ok", "version": version})

        async def readyz(_request: Request) -> JSONResponse:
            ready, components = self._readiness()
            status = "ready" if ready else "not_ready"
            body = {"status": status, "version": version, "components": dict(components)}
            return JSONResponse(body, 200 if ready else 503)

        async def metrics(request: Request) -> Response:
            if self._metrics is None:
                return Response("telemetry.metrics is off\n", 404, media_type="text/plain")
            page, content_type = self._metrics(request.headers.get("accept", ""))
            return Response(page, headers={"content-type": content_type})

        routes = {"/healthz": healthz, "/readyz": readyz, "/metrics": metrics}
        app = Starlette(routes=[Route(path, answer) for path, answer in routes.items()])
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=1,
        )
        self._server = _QuietServer(config)
        self._socket = _bind(address)
        name = self._socket.getsockname()
        self.address = address if address.path else Address(address.host, int(name[1]))
        self._task: asyncio.Task[None] | None = None

    def ask(self, readiness: Readiness) -> None:
        """Name who knows whether this process should be asked, and its components with reasons."""
        self._readiness = readiness

    def publish(self, metrics: Page | None) -> None:
        """Name who writes the page of metrics, if anybody does."""
        self._metrics = metrics

    async def start(self) -> None:
        """Begin to answer."""
        self._task = asyncio.create_task(self._server.serve([self._socket]))

    async def stop(self) -> None:
        """Stop answering."""
        _unlink(self.address)
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        self._socket.close()


class _QuietServer(uvicorn.Server):
    """Leaves the signals to the process that it is a part of."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _bind(address: Address) -> socket.socket:
    listener = None
    try:
        family, where = _resolve(address)
        listener = socket.socket(family)
        listener.setblocking(False)
        if address.path:
            _unlink_dead(address.path)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(128)
    except OSError as cause:
        if listener is not None:
            listener.close()
        problem = cause.strerror or str(cause)
        raise BadInput("ops.listen", f"{address}: {problem}; name another address") from None
    return listener


def _resolve(address: Address) -> tuple[socket.AddressFamily, Any]:
    if address.path:
        return socket.AF_UNIX, address.path
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise OSError("not a host name") from None
    return found[0][0], found[0][4]


def _unlink(address: Address) -> None:
    """Remove our path while it is ours: once we have closed, another process may take it."""
    if address.path:
        Path(address.path).unlink(missing_ok=True)


def _unlink_dead(path: str) -> None:
    """Remove a socket that nobody answers on any more; a live one shall make `bind` fail."""
    if not Path(path).is_socket():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
        except BlockingIOError:
            pass  # alive, with a full queue
