"""Spans of the calls of the admin API, at a receiver of OTLP."""

import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
import pytest_asyncio

from authz.core.errors import BadInput
from authz.core.roles import Role
from authz.rpc.pb.admin.v1 import admin_pb2, keys_pb2
from authz.settings.model import Settings
from authz.settings.telemetry import Telemetry
from authz.wiring.admin import admin_process
from tests.support.real import Valkey, eventually
from tests.support.rpc.admin import AdminRig, admin_rig, admin_settings
from tests.support.rpc.rest import RestClient
from tests.support.telemetry.receiver import Receiver, attributes, black_hole, receiving

pytestmark = pytest.mark.asyncio(loop_scope="module")


def fresh(flags: str = "01") -> str:
    """Return a traceparent that no other test has used."""
    return f"00-{random.getrandbits(128):032x}-{random.getrandbits(64):016x}-{flags}"


def with_tracing(settings: Settings, endpoint: str | None, **tracing: Any) -> Settings:
    """Return the settings with traces on."""
    otlp = {"otlp": {"endpoint": endpoint, "interval": "1s"}} if endpoint else {}
    tracing = {"enabled": True, "sample_ratio": 0} | tracing
    return settings.changed(telemetry=Telemetry.parse(otlp | {"tracing": tracing}))


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """A receiver of OTLP."""
    with receiving() as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def traced(
    shared_valkey: Valkey, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[AdminRig]:
    """A running admin API that follows the decisions of its callers."""
    shared_valkey.reset()
    settings = admin_settings(shared_valkey, tmp_path_factory.mktemp("admin"))
    async with admin_rig(with_tracing(settings, receiver.endpoint)) as running:
        yield running


async def span_of(receiver: Receiver, traceparent: str) -> dict[str, Any]:
    """Return the one span of a trace, as soon as it is there."""
    found = await eventually(
        lambda: [each for each in receiver.spans() if each["traceId"] == traceparent[3:35]]
    )
    (span,) = found
    return span


async def test_a_call_has_a_span(traced: AdminRig, receiver: Receiver) -> None:
    """The span goes on with the trace of the caller, and has method, code and call id."""
    ours, (_, text) = fresh(), await traced.issue([Role.VIEWER.scope])
    stubs = traced.stubs(text)
    metadata = (*stubs.metadata, ("traceparent", ours), ("x-request-id", "call-0001"))
    await stubs.admin.WhoAmI(admin_pb2.WhoAmIRequest(), metadata=metadata)
    span = await span_of(receiver, ours)
    assert (span["name"], span["parentSpanId"]) == ("authz.admin.v1.Admin/WhoAmI", ours[36:52])
    assert attributes(span) == {
        "rpc.system.name": "grpc",
        "rpc.method": "authz.admin.v1.Admin/WhoAmI",
        "rpc.response.status_code": "OK",
        "authz.request.id": "call-0001",
    }
    assert "code" not in span.get("status", {})
    assert int(span["endTimeUnixNano"]) > int(span["startTimeUnixNano"])
    assert any(each["service.name"] == "authz-admin" for each in receiver.resources("traces"))


async def test_a_refused_call_has_its_code(traced: AdminRig, receiver: Receiver) -> None:
    """A refusal is no fault of the server, and the span has no text of the caller."""
    ours, stubs = fresh(), traced.stubs("ak_live_nobody")
    with pytest.raises(grpc.RpcError):
        await stubs.keys.GetKey(
            keys_pb2.GetKeyRequest(name="keys/secret-name"),
            metadata=(*stubs.metadata, ("traceparent", ours), ("x-request-id", "a b")),
        )
    span = await span_of(receiver, ours)
    assert attributes(span)["rpc.response.status_code"] == "UNAUTHENTICATED"
    assert "code" not in span.get("status", {})
    for told in ("nobody", "secret-name", "a b"):
        assert told not in str(span)


async def test_rest_and_streams(traced: AdminRig, receiver: Receiver) -> None:
    """Calls over REST and streams have spans, too."""
    _, text = await traced.issue([Role.ADMIN.scope])
    over_rest, stream = fresh(), fresh()
    client = RestClient(traced.process.http, text)
    got = await client.send("GET", "/v1/whoami", headers={"traceparent": over_rest})
    assert got.status == 200
    span = await span_of(receiver, over_rest)
    assert span["parentSpanId"] == over_rest[36:52]
    stubs = traced.stubs(text)
    metadata = (*stubs.metadata, ("traceparent", stream))
    request = keys_pb2.ExportKeysRequest()
    assert [each async for each in stubs.keys.ExportKeys(request, metadata=metadata)]
    assert (await span_of(receiver, stream))["name"] == "authz.admin.v1.Keys/ExportKeys"


@pytest.mark.parametrize("said", [f"00-{7:032x}-{7:016x}-00", "", "00-nonsense"])
async def test_what_nobody_sampled_has_no_span(
    traced: AdminRig, receiver: Receiver, said: str
) -> None:
    """A call that its caller does not sample has no span; with a ratio of 0 no other one either."""
    _, text = await traced.issue([Role.VIEWER.scope])
    client, later = RestClient(traced.process.http, text), fresh()
    marked = {"x-request-id": "not-sampled"}
    await client.send("GET", "/v1/whoami", headers=marked | {"traceparent": said})
    await client.send("GET", "/v1/whoami", headers={"traceparent": later})
    await span_of(receiver, later)
    ids = [attributes(each).get("authz.request.id") for each in receiver.spans()]
    assert "not-sampled" not in ids


async def test_a_fault_is_an_error(own_valkey: Valkey, receiver: Receiver, tmp_path) -> None:
    """If the store is away, the status of the span is ERROR."""
    settings = with_tracing(admin_settings(own_valkey, tmp_path), receiver.endpoint)
    async with admin_rig(settings) as rig:
        own_valkey.stop()
        stubs = rig.stubs("ak_live_x")

        await eventually(lambda: not rig.process.readiness())
        ours = fresh()
        with pytest.raises(grpc.RpcError):
            await stubs.admin.WhoAmI(admin_pb2.WhoAmIRequest(), metadata=(("traceparent", ours),))
        span = await span_of(receiver, ours)
    assert attributes(span)["rpc.response.status_code"] == "UNAVAILABLE"
    assert span["status"]["code"] == 2


async def test_traces_need_a_receiver(shared_valkey: Valkey, tmp_path) -> None:
    """Traces without `telemetry.otlp` are refused before anything listens."""
    settings = with_tracing(admin_settings(shared_valkey, tmp_path), None)
    with pytest.raises(BadInput, match="receiver of spans"):
        async with admin_process(settings):
            pass


async def test_a_receiver_that_hangs_holds_up_nothing(shared_valkey: Valkey, tmp_path) -> None:
    """Calls are answered, and the process ends within seconds."""
    with black_hole() as endpoint:
        settings = with_tracing(
            admin_settings(shared_valkey, tmp_path), endpoint, sample_ratio=1, max_per_second=1000
        )
        async with admin_rig(settings) as rig:
            _, text = await rig.issue([Role.VIEWER.scope])
            stubs = rig.stubs(text)
            for _ in range(100):
                await stubs.admin.WhoAmI(admin_pb2.WhoAmIRequest())
