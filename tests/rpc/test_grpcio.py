"""The grpcio transport beyond Checks: health that can be watched, and reflection."""

import asyncio

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from authz.rpc.services import CHECK_SERVICE
from tests.support.rpc.door import Door
from tests.support.rpc.servers import SECONDS, channel, serving

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def door() -> Door:
    """A handler over an empty store."""
    return Door()


async def test_health_can_be_watched(door):
    """A watch reports NOT_SERVING until the sidecar is ready, and when it is not, or stops."""
    ready = False
    async with serving("grpcio", door) as server, channel(server.address) as connection:
        stub = health_pb2_grpc.HealthStub(connection)
        watched = stub.Watch(health_pb2.HealthCheckRequest(service=CHECK_SERVICE), timeout=SECONDS)
        showing = asyncio.create_task(server.show(lambda: ready))
        assert (await watched.read()).status == NOT_SERVING
        for ready in (True, False, True):
            assert (await watched.read()).status == (SERVING if ready else NOT_SERVING)
        stopping = asyncio.create_task(server.stop(SECONDS))
        assert (await watched.read()).status == NOT_SERVING
        watched.cancel()
        await stopping
        showing.cancel()


async def test_reflection_names_the_services(door):
    """grpcurl and similar tools list the services."""
    async with serving("grpcio", door) as server, channel(server.address) as connection:
        stub = reflection_pb2_grpc.ServerReflectionStub(connection)
        asked = reflection_pb2.ServerReflectionRequest(list_services="*")
        call = stub.ServerReflectionInfo(iter([asked]), timeout=SECONDS)
        told = await call.read()
    assert {service.name for service in told.list_services_response.service} == {
        CHECK_SERVICE,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
