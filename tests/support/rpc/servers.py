"""Real gRPC servers and clients on loopback and on Unix sockets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from envoy.service.auth.v3.external_auth_pb2_grpc import AuthorizationStub

from authz.core.listen_address import Address
from authz.rpc.grpcio import GrpcServer
from authz.rpc.h2.server import FastServer
from tests.support.fakes import RecordingProbe

TRANSPORTS = ("fast", "grpcio")
LOOPBACK = Address("127.0.0.1", 0)
SECONDS = 30.0  # no call takes that long


def make_server(transport: str, door, address: Address, **settings) -> FastServer | GrpcServer:
    """Return a server of one transport, not started."""
    if transport == "grpcio":
        return GrpcServer(door, address, **settings)
    settings.setdefault("probe", RecordingProbe())
    return FastServer(door, address, **settings)


@asynccontextmanager
async def serving(
    transport: str, door, address: Address = LOOPBACK, **settings
) -> AsyncIterator[FastServer | GrpcServer]:
    """Run a server with this handler, and stop it at the end."""
    server = make_server(transport, door, address, **settings)
    try:
        await server.start()
        yield server
    finally:
        await server.stop(0)


def channel(address: Address, credentials: grpc.ChannelCredentials | None = None):
    """Return a client's connection that retries quickly."""
    options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.use_local_subchannel_pool", 1)]
    if credentials is None:
        return grpc.aio.insecure_channel(str(address), options)
    return grpc.aio.secure_channel(str(address), credentials, options)


async def ask(address: Address, message, credentials=None) -> CheckResponse:
    """Return the answer to one Check over its own connection."""
    async with channel(address, credentials) as connection:
        return await AuthorizationStub(connection).Check(message, timeout=SECONDS)
