"""Calls that fail: codes, standard details, and nothing of the inside in a text or a log."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from authz.core.errors import Fault
from authz.core.roles import Role
from authz.rpc.admin.api_error import Code, of_fault
from authz.rpc.admin.calls import call_id_of
from authz.rpc.admin.method_table import NEEDED, SERVICES
from authz.rpc.admin.server import peer_address
from authz.rpc.pb.admin.v1 import key_pb2, keys_pb2
from authz.telemetry.admin_metrics import CODES, METHODS, CallCounters
from tests.support.real import Valkey, eventually
from tests.support.rpc.admin import AdminRig, admin_rig, admin_settings, details_of, fields_of
from tests.support.rpc.admin import reason_of as reason

CREATE = "/authz.admin.v1.Keys/CreateKey"


@pytest.fixture
async def slow_rig(valkey: Valkey, tmp_path: Path) -> AsyncIterator[AdminRig]:
    """An admin API that allows two calls a second."""
    async with admin_rig(admin_settings(valkey, tmp_path, calls_per_second=2)) as running:
        yield running


async def raw_call(rig: AdminRig, raw: bytes, key: str) -> grpc.aio.AioRpcError:
    """Call CreateKey with these bytes, and return its error."""
    call = rig.channel.unary_unary(CREATE)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(raw, metadata=(("authorization", f"Bearer {key}"),), timeout=10)
    return caught.value


async def test_unknown_parts_of_a_message(valkey: Valkey, tmp_path: Path) -> None:
    """Bytes that are no message, unknown fields and unknown enum values are refused and named."""
    async with admin_rig(admin_settings(valkey, tmp_path)) as rig:
        _, key = await rig.issue([Role.ADMIN.scope])
        good = keys_pb2.CreateKeyRequest(key=key_pb2.Key(client_id="acme"))
        inner = good.key.SerializeToString()
        unknown = b"\xf8\x3f\x01"  # field 1023
        nested = b"\x0a" + bytes([len(inner) + 3]) + inner + unknown
        bad_enum = keys_pb2.CreateKeyRequest(key=key_pb2.Key(client_id="acme", env=7))
        secret = keys_pb2.CreateKeyRequest(
            key=key_pb2.Key(client_id="acme", limits=[key_pb2.Limit(spec="10/s")])
        )
        secret.key.limits[0].MergeFromString(unknown)
        for raw, field in (
            (b"\xff\xff", "request"),
            (good.SerializeToString() + unknown, "request"),
            (nested, "key"),
            (bad_enum.SerializeToString(), "key.env"),
            (secret.SerializeToString(), "key.limits[0]"),
        ):
            error = await raw_call(rig, raw, key)
            assert (error.code(), reason(error)) == (Code.INVALID_ARGUMENT, "INVALID_FIELD")
            assert fields_of(error) == [field]


async def test_too_many_calls(slow_rig: AdminRig) -> None:
    """A caller above its rate is RESOURCE_EXHAUSTED with the time to wait; others are served."""
    first = await slow_rig.caller(Role.VIEWER)
    request = keys_pb2.ListKeysRequest()
    calls = [first.keys.ListKeys(request) for _ in range(6)]
    errors = [
        found
        for found in await asyncio.gather(*calls, return_exceptions=True)
        if isinstance(found, grpc.aio.AioRpcError)
    ]
    assert {error.code() for error in errors} == {Code.RESOURCE_EXHAUSTED}
    assert len(errors) >= 2
    (wait,) = [
        detail
        for detail in details_of(errors[0])
        if isinstance(detail, error_details_pb2.RetryInfo)
    ]
    assert wait.retry_delay.ToMilliseconds() == 500
    other = await slow_rig.caller(Role.VIEWER)
    await other.keys.ListKeys(request)


async def test_a_store_that_goes_and_comes(own_valkey: Valkey, tmp_path: Path) -> None:
    """Without the store calls are UNAVAILABLE and the process is not ready; then it is again."""
    async with admin_rig(admin_settings(own_valkey, tmp_path)) as rig:
        stubs = await rig.caller(Role.ADMIN)
        health = health_pb2_grpc.HealthStub(rig.channel)
        own_valkey.kill()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stubs.keys.ListKeys(keys_pb2.ListKeysRequest())
        assert caught.value.code() is Code.UNAVAILABLE
        assert str(own_valkey.port) not in (caught.value.details() or "")
        own_valkey.start()
        own_valkey.admin.flushall()
        await eventually(lambda: not rig.process.readiness())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stubs.keys.ListKeys(keys_pb2.ListKeysRequest())
        assert reason(caught.value) == "STORE_UNAVAILABLE"
        is_ready, parts = rig.process.readiness.report()
        assert not is_ready
        assert "authz:meta" in parts["store"]["reason"] or parts["store"]["reason"]
        answer = await health.Check(health_pb2.HealthCheckRequest(service="liveness"))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_and_health(slow_rig: AdminRig) -> None:
    """Reflection names every service, and health serves their names without a credential."""
    stub = reflection_pb2_grpc.ServerReflectionStub(slow_rig.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    async for response in stub.ServerReflectionInfo(iter([request])):
        names = {service.name for service in response.list_services_response.service}
    assert {service.full_name for service in SERVICES} <= names
    health = health_pb2_grpc.HealthStub(slow_rig.channel)
    await eventually(slow_rig.process.readiness)
    serving = health_pb2.HealthCheckResponse.SERVING

    async def status(name: str) -> int:
        return (await health.Check(health_pb2.HealthCheckRequest(service=name))).status

    for name in ("", "readiness", "authz.admin.v1.Keys"):
        for _ in range(50):
            if await status(name) == serving:
                break
            await asyncio.sleep(0.02)
        assert await status(name) == serving


def test_every_fault_has_an_error() -> None:
    """Also a fault that this module does not know is a code, not an exception."""
    assert of_fault(Fault("new")).code is Code.UNAVAILABLE


def test_metrics_have_every_method_and_code() -> None:
    """The series of the metrics are those of the services; another code counts as INTERNAL."""
    assert set(METHODS) == set(NEEDED)
    assert {service.name for service in SERVICES} == {name.partition(".")[0] for name in NEEDED}
    counters = CallCounters()
    counters.observe("Keys.GetKey", "UNKNOWN", 0.1)
    assert [(where["code"], n) for where, n in counters.calls() if n] == [("INTERNAL", 1)]
    assert {code.name for code in Code} >= set(CODES)


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:127.0.0.1:5000", "127.0.0.1"),
        ("ipv6:%5B::1%5D:5000", "::1"),
        ("ipv6:[fe80::1%25eth0]:5000", "fe80::1"),
        ("unix:", ""),
        ("unix:/run/x.sock", ""),
        ("ipv4:nothing", ""),
    ],
)
def test_peers(peer: str, address: str) -> None:
    """The address of a peer is read as gRPC writes it; a Unix socket has none."""
    assert peer_address(peer) == address


def test_call_ids() -> None:
    """A good id of the client stays, any other becomes a new one."""
    assert call_id_of("7f-A_b.1") == "7f-A_b.1"
    for bad in ("", "a b", "x" * 65, "\N{SNOWMAN}"):
        assert call_id_of(bad) not in {"", bad}
