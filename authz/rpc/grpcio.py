"""The grpcio transport: Check, health and reflection on one listener."""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import grpc
import grpc.aio
from envoy.service.auth.v3 import external_auth_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from authz.core.address import Address
from authz.core.errors import BadInput
from authz.rpc.check import CheckDoor
from authz.rpc.socketlock import SocketLock

_SERVICES: Final = external_auth_pb2.DESCRIPTOR.services_by_name
CHECK_SERVICE: Final[str] = _SERVICES["Authorization"].full_name
MAX_MESSAGE_BYTES: Final = 1024 * 1024
HEALTH_INTERVAL: Final = 0.1  # seconds between looks at readiness
LISTEN: Final = "check.listen"

OPTIONS: Final = (
    # Two processes on one port share connections unevenly, and nobody notices the second one.
    ("grpc.so_reuseport", 0),
    # Envoy pings idle connections; without these two the answer is GOAWAY too_many_pings.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
)


def credentials(cert: Path, key: Path, client_ca: Path | None) -> grpc.ServerCredentials:
    """TLS for the listener; with `client_ca` only clients it signed are served. Raises BadInput."""
    try:
        chain, private = cert.read_bytes(), key.read_bytes()
        ca = client_ca.read_bytes() if client_ca else None
        _verify(cert, key, client_ca)
    except ssl.SSLError:
        named = f"{cert} and {key}" + (f", or {client_ca}," if client_ca else "")
        problem = f"{named} are not a certificate and its unencrypted key in PEM"
        raise BadInput("check.tls", problem) from None
    except OSError as cause:
        raise BadInput("check.tls", f"{cause.filename}: {cause.strerror}") from None
    return grpc.ssl_server_credentials([(private, chain)], ca, require_client_auth=ca is not None)


def _verify(cert: Path, key: Path, client_ca: Path | None) -> None:
    """Raises SSLError. gRPC would say no more than that the address cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key, password="")
    if client_ca:
        context.load_verify_locations(client_ca)


class GrpcServer:
    """A listener that answers Checks through `door`.

    Refuses to listen in the clear where other machines can connect: the port takes raw keys and
    answers anyone who asks. Raises BadInput for that, and for an address that cannot be used.
    """

    def __init__(
        self,
        door: CheckDoor,
        address: Address,
        *,
        tls: grpc.ServerCredentials | None = None,
        allow_plaintext: bool = False,
        socket_mode: int = 0o660,
    ) -> None:
        if not (tls or allow_plaintext or address.is_local):
            raise BadInput(
                LISTEN,
                f"{address} would take keys in the clear from other machines; "
                "set check.tls, or check.allow_plaintext: true behind a mesh that encrypts",
            )
        self.address = address
        self._lock = SocketLock(LISTEN, address.path) if address.path else None
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(options=OPTIONS)
        self._server.add_generic_rpc_handlers((_handlers(door),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (CHECK_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        try:
            with _socket_mode(address.path, socket_mode):
                port = self._bind(tls)
        except (RuntimeError, OSError):
            self._release()
            raise BadInput(LISTEN, f"{address}: {_trouble(address)}; name another") from None
        self.address = address if address.path else Address(address.host, port)

    async def start(self) -> None:
        """Begin to answer; not serving until `show` says so."""
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
        self._release()

    async def _set_serving(self, *, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse
        now = status.SERVING if serving else status.NOT_SERVING
        for name in ("", CHECK_SERVICE):
            await self._health.set(name, now)

    def _bind(self, tls: grpc.ServerCredentials | None) -> int:
        name = str(self.address)
        if tls is None:
            return self._server.add_insecure_port(name)
        return self._server.add_secure_port(name, tls)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def _handlers(door: CheckDoor) -> grpc.GenericRpcHandler:
    check = door.check

    async def answer(raw: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        made = check(raw)
        return made if isinstance(made, bytes) else await made

    # No serialisers: the door takes bytes and gives bytes.
    return grpc.method_handlers_generic_handler(
        CHECK_SERVICE, {"Check": grpc.unary_unary_rpc_method_handler(answer)}
    )


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


@contextmanager
def _socket_mode(path: str, mode: int) -> Iterator[None]:
    """Bind a Unix socket so that it never has wider permissions than it shall have."""
    if not path:
        yield
        return
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)
    Path(path).chmod(mode)
