"""The grpcio transport: Check, health and reflection on one listener."""

import asyncio
import socket
from collections.abc import Callable
from typing import Final

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from authz.core.errors import BadInput
from authz.core.listen_address import Address
from authz.process.listener import (
    LISTEN,
    Limits,
    TlsFiles,
    mode_of_socket,
    refuse_plaintext,
    server_tls,
)
from authz.process.socket_lock import SocketLock
from authz.rpc.check.handler import CheckHandler
from authz.rpc.health import BY_READINESS, LIVENESS
from authz.rpc.services import CHECK_SERVICE

HEALTH_INTERVAL: Final = 0.1  # seconds between looks at readiness

OPTIONS: Final = (
    # Two processes on one port share connections unevenly, and nobody notices the second one.
    ("grpc.so_reuseport", 0),
    # Envoy pings idle connections; without these two the answer is GOAWAY too_many_pings.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
)


def _options(limits: Limits) -> list[tuple[str, int]]:
    return [
        ("grpc.max_concurrent_streams", limits.streams),
        ("grpc.max_metadata_size", limits.header_bytes),
        ("grpc.absolute_max_metadata_size", limits.header_bytes),
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_connection_idle_ms", round(limits.idle_seconds * 1000)),
    ]


def credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """TLS as gRPC takes it. Raises BadInput, where gRPC says that the address cannot be used."""
    server_tls(files)
    chain, private = files.cert.read_bytes(), files.key.read_bytes()
    ca = files.client_ca.read_bytes() if files.client_ca else None
    return grpc.ssl_server_credentials([(private, chain)], ca, require_client_auth=ca is not None)


class GrpcServer:
    """A listener that answers Checks through `door`.

    Refuses to listen in the clear where other machines can connect: the port takes raw keys and
    answers anyone who asks. Raises BadInput for that, and for an address that cannot be used.
    traced: does anybody want to know a call's place in a trace?
    """

    def __init__(
        self,
        door: CheckHandler,
        address: Address,
        *,
        limits: Limits = Limits(),  # noqa: B008  it is frozen
        tls: TlsFiles | None = None,
        allow_plaintext: bool = False,
        socket_mode: int = 0o660,
        traced: bool = False,
    ) -> None:
        refuse_plaintext(address, encrypted=tls is not None, allowed=allow_plaintext)
        self._credentials = credentials(tls) if tls else None
        self.address = address
        self._lock = SocketLock(LISTEN, address.path)
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(options=[*OPTIONS, *_options(limits)])
        self._server.add_generic_rpc_handlers((_handlers(door, traced=traced),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (CHECK_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        try:
            with mode_of_socket(address.path, socket_mode):
                port = self._bind()
        except (RuntimeError, OSError):
            self._lock.release()
            raise BadInput(LISTEN, f"{address}: {_trouble(address)}; name another") from None
        self.address = address if address.path else Address(address.host, port)

    async def start(self) -> None:
        """Begin to answer; not serving until `show` says so."""
        await self._health.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
        await self._set_serving(serving=False)
        await self._server.start()

    async def show(self, ready: Callable[[], bool]) -> None:
        """Keep grpc.health.v1 saying what `ready` says, until cancelled."""
        shown = False
        while True:
            if ready() is not shown:
                shown = not shown
                await self._set_serving(serving=shown)
            await asyncio.sleep(HEALTH_INTERVAL)

    async def stop(self, grace: float) -> None:
        """Take no new calls, give the running ones `grace` seconds, then close."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)
        self._lock.release()

    async def _set_serving(self, *, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse
        now = status.SERVING if serving else status.NOT_SERVING
        for name in BY_READINESS:
            await self._health.set(name, now)

    def _bind(self) -> int:
        name = str(self.address)
        if self._credentials is None:
            return self._server.add_insecure_port(name)
        return self._server.add_secure_port(name, self._credentials)


def _handlers(door: CheckHandler, *, traced: bool) -> grpc.GenericRpcHandler:
    check = door.check

    async def answer(raw: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        made = check(raw, _traceparent(context) if traced else None)
        return made if isinstance(made, bytes) else await made

    # No serialisers: the door takes bytes and gives bytes.
    return grpc.method_handlers_generic_handler(
        CHECK_SERVICE, {"Check": grpc.unary_unary_rpc_method_handler(answer)}
    )


def _traceparent(context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes | None:
    """The call's own place in a trace, or None. One that stands there twice is none."""
    found = [value for name, value in context.invocation_metadata() or () if name == "traceparent"]
    return found[0].encode() if len(found) == 1 and isinstance(found[0], str) else None


def _trouble(address: Address) -> str:
    """Why the operating system refuses an address. gRPC tells nobody but stderr."""
    if not address.path:
        try:
            found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
            family, kind, *_, where = found[0]
            with socket.socket(family, kind) as probe:
                probe.bind(where)
        except UnicodeError:
            return "not a host name"
        except OSError as cause:
            return cause.strerror or str(cause)
    return "it cannot be used"
