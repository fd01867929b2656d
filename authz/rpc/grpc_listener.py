"""GrpcListener: a grpcio server with health and reflection on one address."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Final

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from authz.core.errors import BadInput
from authz.core.listen_address import Address
from authz.process.listener import (
    SOCKET_MODE,
    ConnectionLimits,
    TlsFiles,
    mode_of_socket,
    server_tls,
)
from authz.process.socket_lock import SocketLock
from authz.rpc.health import LIVENESS

HEALTH_INTERVAL: Final = 0.1  # seconds between two reads of the readiness

OPTIONS: Final = (
    # With it a second process could bind the port unnoticed, and take a part of the connections.
    ("grpc.so_reuseport", 0),
    # Envoy pings idle connections. Without these two, gRPC answers GOAWAY too_many_pings.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
)


def _options(limits: ConnectionLimits) -> list[tuple[str, int]]:
    return [
        ("grpc.max_concurrent_streams", limits.streams),
        ("grpc.max_metadata_size", limits.header_bytes),
        ("grpc.absolute_max_metadata_size", limits.header_bytes),
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_connection_idle_ms", round(limits.idle_seconds * 1000)),
    ]


def credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Return TLS credentials for gRPC. With a client CA, clients must show a certificate.

    Raises BadInput if the files cannot be read or used.
    """
    server_tls(files)  # gRPC reports a bad certificate as an address that cannot be used
    chain, private = files.cert.read_bytes(), files.key.read_bytes()
    ca = files.client_ca.read_bytes() if files.client_ca else None
    return grpc.ssl_server_credentials([(private, chain)], ca, require_client_auth=ca is not None)


class GrpcListener:
    """A server for some services, grpc.health.v1 and server reflection.

    The constructor binds the address; port 0 lets the system choose, and `address` has the choice.
    services: their names, for reflection. by_readiness: the names whose health is the readiness.
    setting: named in errors. most_calls: at the same time; more get RESOURCE_EXHAUSTED; None: no
    bound. Raises BadInput for bad TLS files and for an address that cannot be used.
    """

    def __init__(
        self,
        handlers: Sequence[grpc.GenericRpcHandler],
        address: Address,
        *,
        services: Sequence[str],
        by_readiness: Sequence[str],
        setting: str,
        limits: ConnectionLimits,
        tls: TlsFiles | None = None,
        socket_mode: int = SOCKET_MODE,
        most_calls: int | None = None,
    ) -> None:
        self._credentials = credentials(tls) if tls else None
        self._by_readiness = tuple(by_readiness)
        self.address = address
        self._lock = SocketLock(setting, address.path)
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(
            options=[*OPTIONS, *_options(limits)], maximum_concurrent_rpcs=most_calls
        )
        self._server.add_generic_rpc_handlers(tuple(handlers))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        try:
            with mode_of_socket(address.path, socket_mode):
                port = self._bind()
        except (RuntimeError, OSError):
            self._lock.close()
            raise BadInput(setting, f"{address}: {_problem(address)}; name another") from None
        self._lock.owns_socket = True
        self.address = address if address.path else Address(address.host, port)

    async def start(self) -> None:
        """Begin to answer. Readiness is NOT_SERVING until `show` is called; liveness is SERVING."""
        await self._health.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
        await self._set_serving(serving=False)
        await self._server.start()

    async def show(self, ready: Callable[[], bool]) -> None:
        """Let grpc.health.v1 report the result of `ready` until cancelled.

        `ready` is called every 0.1 s. After the cancellation the last state stays.
        """
        shown = False
        while True:
            if ready() is not shown:
                shown = not shown
                await self._set_serving(serving=shown)
            await asyncio.sleep(HEALTH_INTERVAL)

    async def stop(self, grace: float) -> None:
        """Take no new calls, wait at most `grace` seconds for running ones, cancel the rest.

        Readiness and liveness become NOT_SERVING at once. At the end a Unix socket is removed.
        """
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)
        self._lock.close()

    async def _set_serving(self, *, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse
        now = status.SERVING if serving else status.NOT_SERVING
        for name in self._by_readiness:
            await self._health.set(name, now)

    def _bind(self) -> int:
        name = str(self.address)
        if self._credentials is None:
            return self._server.add_insecure_port(name)
        return self._server.add_secure_port(name, self._credentials)


def _problem(address: Address) -> str:
    """Return the operating system's reason to refuse an address. gRPC only prints it to stderr.

    For a Unix socket, or if the address can be bound now: "it cannot be used".
    """
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
