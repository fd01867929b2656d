"""The fast transport: unary methods and health on one listener, over our own HTTP/2 connection."""

import asyncio
import contextlib
import resource
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from authz.core.listen_address import Address
from authz.core.ports import Probe
from authz.process.listener import (
    LISTEN,
    SOCKET_MODE,
    ConnectionLimits,
    Listener,
    TlsFiles,
    refuse_plaintext,
    server_tls,
)
from authz.rpc.check.handler import CheckHandler
from authz.rpc.h2.protocol import H2Protocol
from authz.rpc.h2.request_bodies import BodyMemory
from authz.rpc.h2.request_headers import MethodHandler
from authz.rpc.h2.responses import GrpcCode, GrpcStatus
from authz.rpc.h2.server_state import ServerState
from authz.rpc.h2.tls_listener import TlsListener
from authz.rpc.health import BY_READINESS, LIVENESS
from authz.rpc.services import CHECK_SERVICE

BACKLOG: Final = 1024
SPARE_FILES: Final = 256  # file descriptors that are left for the store and other listeners
MAX_PROBES: Final = 64  # connections to a listener that serves health alone
UNFINISHED_MESSAGES: Final = 64  # of the largest size may be held, over all connections

HEALTH_SERVICE: Final = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
UNREADABLE: Final = GrpcStatus(GrpcCode.INTERNAL, "the message is not a HealthCheckRequest")
UNKNOWN_SERVICE: Final = GrpcStatus(GrpcCode.NOT_FOUND, "unknown service")
SERVING, NOT_SERVING = (
    health_pb2.HealthCheckResponse(status=status).SerializeToString()
    for status in (
        health_pb2.HealthCheckResponse.SERVING,
        health_pb2.HealthCheckResponse.NOT_SERVING,
    )
)
# Of one header block. hpack decodes as much in up to 4 ms, and 1 MiB in up to 3 s.
MAX_HEADER_BYTES: Final = 16 * 1024


class FastServer:
    """A server for Check and grpc.health.v1; without `handler` for grpc.health.v1 and `methods`.

    The constructor binds the address. methods: more methods by `:path`. tokens: each call needs one
    of them as bearer token, also health; empty: none is needed. traced: whether the handlers get
    the call's traceparent.

    Without `tls` and `allow_plaintext` it refuses an address that is not local: requests contain
    raw keys, and any client is answered. Raises BadInput for that, for bad TLS files, and, with the
    name `setting`, for an address that cannot be used.
    A flood slows a client down if only trusted proxies can connect: on loopback, on a Unix socket,
    or with a client certificate. Elsewhere it disconnects the client.
    """

    def __init__(
        self,
        handler: CheckHandler | None,
        address: Address,
        *,
        probe: Probe,
        limits: ConnectionLimits = ConnectionLimits(),  # noqa: B008  it is frozen
        tls: TlsFiles | None = None,
        allow_plaintext: bool = False,
        socket_mode: int = SOCKET_MODE,
        setting: str = LISTEN,
        traced: bool = False,
        methods: Mapping[bytes, MethodHandler] = MappingProxyType({}),
        tokens: tuple[bytes, ...] = (),
    ) -> None:
        refuse_plaintext(address, encrypted=tls is not None, allowed=allow_plaintext)
        self._tls = server_tls(tls) if tls else None
        self._ready: Callable[[], bool] = lambda: False
        self._listener = Listener(address, setting, socket_mode)
        self.address = self._listener.address
        self._servers: list[asyncio.Server] = []
        self._accepting: list[asyncio.Task[None]] = []
        handlers: dict[bytes, MethodHandler] = {f"/{HEALTH_SERVICE}/Check".encode(): self._health}
        if handler is not None:
            handlers[f"/{CHECK_SERVICE}/Check".encode()] = handler.check
        handlers |= methods
        is_for_probes = handler is None and not methods
        self._state = ServerState(
            handlers=handlers,
            tokens=tokens,
            traced=traced,
            limits=replace(
                limits,
                trusted=_is_trusted(address, tls),
                header_bytes=min(limits.header_bytes, MAX_HEADER_BYTES),
            ),
            memory=BodyMemory(UNFINISHED_MESSAGES * limits.message_bytes),
            probe=probe,
            max_connections=MAX_PROBES if is_for_probes else _max_connections(),
            replaces_idle=is_for_probes,
        )

    async def start(self) -> None:
        """Begin to accept connections.

        Readiness is NOT_SERVING until `show` is called; liveness SERVING.
        """
        loop = asyncio.get_running_loop()
        for listener in self._listener.sockets:
            if self._tls is not None:
                listener.setblocking(False)
                listener.listen(BACKLOG)
                accepting = TlsListener(listener, self._tls, self._state)
                self._accepting.append(loop.create_task(accepting.run()))
                continue
            self._servers.append(
                await loop.create_server(
                    lambda: H2Protocol(self._state), sock=listener, backlog=BACKLOG
                )
            )

    async def show(self, ready: Callable[[], bool]) -> None:
        """Let grpc.health.v1 report what `ready` returns, until cancelled; after that NOT_SERVING.

        `ready` is called for each request.
        """
        self._ready = ready
        try:
            await asyncio.Event().wait()
        finally:
            self._ready = lambda: False

    async def stop(self, grace: float) -> None:
        """Accept no connections, and end the open ones gracefully for at most `grace` seconds.

        Readiness is NOT_SERVING and clients get GOAWAY at once. A connection closes when its calls
        are answered. After `grace`, the others are aborted. At the end the address is released.
        """
        state = self._state
        state.stopping = True
        for server in self._servers:
            server.close()
        for task in self._accepting:
            task.cancel()
        if self._accepting:
            await asyncio.wait(self._accepting)
        self._listener.close_sockets()
        for connection in list(state.open):
            connection.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._all_closed()
        for connection in list(state.open):
            connection.abort()
        await self._all_closed()
        self._listener.close()

    async def _all_closed(self) -> None:
        while self._state.open:
            self._state.changed.clear()
            await self._state.changed.wait()

    def _health(self, raw: bytes, _traceparent: bytes | None = None) -> bytes | GrpcStatus:
        try:
            request = health_pb2.HealthCheckRequest.FromString(raw)
        except DecodeError:
            return UNREADABLE
        if request.service == LIVENESS:
            return SERVING
        if request.service not in BY_READINESS:
            return UNKNOWN_SERVICE
        return SERVING if self._ready() and not self._state.stopping else NOT_SERVING


def _is_trusted(address: Address, tls: TlsFiles | None) -> bool:
    return address.is_local or (tls is not None and tls.client_ca is not None)


def _max_connections() -> int:
    """Return how many connections the limit on open files allows: all but SPARE_FILES (256).

    At least half of the limit. sys.maxsize if there is no limit.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if files == resource.RLIM_INFINITY else max(files - SPARE_FILES, files // 2)
