"""The fast transport: Check and health on one listener, over our own HTTP/2 connection."""

import asyncio
import contextlib
import resource
import sys
from collections.abc import Callable
from typing import Final

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from authz.core.errors import BadInput
from authz.core.listen_address import Address
from authz.core.ports import Probe
from authz.process.listener import LISTEN, Limits, TlsFiles, bind, refuse_plaintext, server_tls
from authz.process.socket_lock import SocketLock
from authz.rpc.check.handler import CheckHandler
from authz.rpc.h2.answers import GrpcCode, Status
from authz.rpc.h2.arrivals import Arrivals
from authz.rpc.h2.head import Route
from authz.rpc.h2.limits import Hold
from authz.rpc.h2.protocol import H2Protocol, Service
from authz.rpc.health import BY_READINESS, LIVENESS
from authz.rpc.services import CHECK_SERVICE

BACKLOG: Final = 1024
SPARE_FILES: Final = 128  # descriptors that are kept for the store and the other listeners
MOST_PROBES: Final = 64  # connections where there is only health to ask for
HELD_MESSAGES: Final = 64  # of the largest size may be unfinished, over all connections

HEALTH_SERVICE: Final = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
UNREADABLE: Final = Status(GrpcCode.INTERNAL, "the message is not a HealthCheckRequest")
UNKNOWN_SERVICE: Final = Status(GrpcCode.NOT_FOUND, "unknown service")
SERVING, NOT_SERVING = (
    health_pb2.HealthCheckResponse(status=status).SerializeToString()
    for status in (
        health_pb2.HealthCheckResponse.SERVING,
        health_pb2.HealthCheckResponse.NOT_SERVING,
    )
)


class FastServer:
    """A listener that answers Checks through `door`, or without one only grpc.health.v1.

    Refuses to listen in the clear where other machines can connect: the port takes raw keys and
    answers anyone who asks. Raises BadInput, which names `setting`, for that and for an address
    that cannot be used.
    """

    def __init__(
        self,
        door: CheckHandler | None,
        address: Address,
        *,
        probe: Probe,
        limits: Limits = Limits(),  # noqa: B008  it is frozen
        tls: TlsFiles | None = None,
        allow_plaintext: bool = False,
        socket_mode: int = 0o660,
        setting: str = LISTEN,
        traced: bool = False,
    ) -> None:
        refuse_plaintext(address, encrypted=tls is not None, allowed=allow_plaintext)
        self._tls = server_tls(tls) if tls else None
        self._ready: Callable[[], bool] = lambda: False
        self._lock = SocketLock(setting, address.path)
        try:
            self._sockets = bind(address, socket_mode, setting)
        except BadInput:
            self._lock.release()
            raise
        port = 0 if address.path else self._sockets[0].getsockname()[1]
        self.address = address if address.path else Address(address.host, port)
        self._servers: list[asyncio.Server] = []
        self._arrivals: list[asyncio.Task[None]] = []
        routes: dict[bytes, Route] = {f"/{HEALTH_SERVICE}/Check".encode(): self._health}
        if door is not None:
            routes[f"/{CHECK_SERVICE}/Check".encode()] = door.check
        self._service = Service(
            routes=routes,
            traced=traced,
            limits=limits,
            hold=Hold(HELD_MESSAGES * limits.message_bytes),
            probe=probe,
            most_connections=_most_connections() if door is not None else MOST_PROBES,
        )

    async def start(self) -> None:
        """Begin to answer; not serving until `show` says so."""
        loop = asyncio.get_running_loop()
        for listener in self._sockets:
            if self._tls is not None:
                listener.setblocking(False)
                listener.listen(BACKLOG)
                arrivals = Arrivals(listener, self._tls, self._service)
                self._arrivals.append(loop.create_task(arrivals.run()))
                continue
            self._servers.append(
                await loop.create_server(
                    lambda: H2Protocol(self._service), sock=listener, backlog=BACKLOG
                )
            )

    async def show(self, ready: Callable[[], bool]) -> None:
        """Let grpc.health.v1 say what `ready` says, until cancelled."""
        self._ready = ready
        try:
            await asyncio.Event().wait()
        finally:
            self._ready = lambda: False

    async def stop(self, grace: float) -> None:
        """Take no new calls, give the running ones `grace` seconds, then close."""
        service = self._service
        service.stopping = True
        for server in self._servers:
            server.close()
        for task in self._arrivals:
            task.cancel()
        if self._arrivals:
            await asyncio.wait(self._arrivals)
        for listener in self._sockets:
            listener.close()
        for connection in list(service.open):
            connection.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._all_closed()
        for connection in list(service.open):
            connection.abort()
        await self._all_closed()
        self._lock.release()

    async def _all_closed(self) -> None:
        while self._service.open:
            self._service.changed.clear()
            await self._service.changed.wait()

    def _health(self, raw: bytes, _traceparent: bytes | None = None) -> bytes | Status:
        try:
            asked = health_pb2.HealthCheckRequest.FromString(raw)
        except DecodeError:
            return UNREADABLE
        if asked.service == LIVENESS:
            return SERVING
        if asked.service not in BY_READINESS:
            return UNKNOWN_SERVICE
        return SERVING if self._ready() and not self._service.stopping else NOT_SERVING


def _most_connections() -> int:
    """As many as there may be open files, but for some."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if files == resource.RLIM_INFINITY else max(files - SPARE_FILES, files // 2)
