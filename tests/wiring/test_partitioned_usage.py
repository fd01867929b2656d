"""Check, usage line, meter and report on a store with eight partitions, all of them real."""

from collections.abc import Awaitable
from pathlib import Path

import grpc
import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

from authz.core.limits.limit import parse_limits
from authz.core.new_keys import KeySpec
from authz.core.partitions import Partitions
from authz.core.records import KeyRecord
from authz.core.usage.completeness import Completeness
from authz.core.usage.line import GATE_FIELDS
from authz.flows.lifecycle import Changed
from authz.flows.limits.limit_report import LimitReports
from authz.flows.limits.refunds import Refunding, parse_refund
from authz.process.clock import SystemClock
from authz.rpc.services import CHECK_SERVICE
from authz.settings import model
from authz.wiring.administration import administration, keyring, limit_policy, our_parts, stores
from authz.wiring.meter import meter_process
from authz.wiring.sidecar import sidecar
from authz.wiring.usage_readers import usage_reading
from tests.support.metering import batch, export
from tests.support.real import RealClock, Valkey, eventually
from tests.support.rpc.messages import check_request
from tests.support.serving import Serving

COUNT = 8
BUDGET = "1000000/month,of=bytes_out"
OWNERS = [("", ""), ("web", ""), ("", "north"), ("web", "south")]
"""Project and tenant of a key."""


@pytest.fixture
def settings(tmp_path: Path, valkey: Valkey) -> model.Settings:
    """Settings of a sidecar and a meter, with pools of all projects and tenants."""
    more = {
        "redis": {"partitions": COUNT},
        "pools": {"projects": {"*": [BUDGET]}, "tenants": {"*": [BUDGET]}},
        "check": {"deadline": "10s"},
        "meter": {"listen": "127.0.0.1:0", "ops_listen": "127.0.0.1:0", "commit_interval": "10ms"},
    }
    return model.load(Serving(tmp_path, valkey, more).file, environ={})


@pytest.fixture
async def keys(settings: model.Settings) -> list[Changed]:
    """Keys of several owners, each with a budget, in several partitions."""
    ring = keyring(settings)
    async with stores(settings) as found:
        for store in found:
            await store.initialise(ring.fingerprints, ring.prefixes, is_compact=True)
    made = []
    async with administration(settings) as lifecycle:
        for client in ("a", "b", "c"):
            for project, tenant in OWNERS:
                spec = KeySpec(
                    client_id=client,
                    env="live",
                    life_ms=None,
                    project_id=project,
                    tenant_id=tenant,
                    limits=parse_limits("limits", [BUDGET]),
                )
                made.append(await lifecycle.issue(spec, lifecycle.author("tests")))
    assert len({Partitions(COUNT).of(key.record.kid) for key in made}) > 3
    return made


async def usage_line(channel: grpc.aio.Channel, key: str, sent: int) -> bytes:
    """Make a Check, and return the line that Envoy writes when the request has ended."""
    check = channel.unary_unary(f"/{CHECK_SERVICE}/Check")
    raw = await check(check_request([("x-api-key", key)]).SerializeToString(), timeout=20)
    about = CheckResponse.FromString(raw).dynamic_metadata
    facts = [str(about[name]) if name in about else "-" for name in GATE_FIELDS]
    result = f"DownstreamEnd 200 - - 0 10 {sent} 203.0.113.7 {RealClock().wall_ms()} -"
    return f"4 {' '.join(facts)} {result} 1 via_upstream GET all curl".encode()


async def test_budgets_are_settled_and_refunded(settings, keys):
    """The real use of each key is counted once in its budget and in the pools of its owners."""
    policy, clock, ring = limit_policy(settings), SystemClock(), keyring(settings)
    used: dict[tuple[str, str, str], int] = {}
    for at, key in enumerate(keys):
        for case in _budgets(key.record):
            used[case] = used.get(case, 0) + 1000 + at
    async with sidecar(settings) as gate, meter_process(settings) as meter:
        await eventually(lambda: all(one.feed.health().trusted for one in gate.partitions))
        async with grpc.aio.insecure_channel(str(gate.server.address)) as channel:
            texts = [key.key_text or "" for key in keys]
            lines = [await usage_line(channel, text, 1000 + at) for at, text in enumerate(texts)]
            lines.append(await usage_line(channel, "nonsense", 5))
        raw = batch(*lines)
        await eventually(lambda: "missing" not in meter.readiness.report()[1]["store"])
        await export(meter.listen, raw)
        await export(meter.listen, raw)
        async with our_parts(settings, ring) as parts:
            count = len(lines)
            wanted = Completeness(issued=count, seen=count, repeated=count)
            await eventually(lambda: _is_so(usage_reading(parts).completeness(), wanted))
    async with administration(settings) as lifecycle, our_parts(settings, ring) as parts:
        reports = LimitReports(parts.counters, policy, clock)
        for key in keys:
            uses = (await reports.view(key.record)).uses
            assert [one.spent for one in uses] == [used[case] for case in _budgets(key.record)]
            assert [one.reserved for one in uses] == [0] * len(uses)
        refunding = Refunding(lifecycle, parts.counters, clock)
        budget = parse_refund("refund", "400/month,of=bytes_out")
        record = keys[3].record
        await refunding.refund(record.kid, budget, lifecycle.author("tests"))
        uses = (await reports.view(record)).uses
        assert uses[0].spent == 1003 - 400
        assert await usage_reading(parts).completeness() == wanted  # after the sidecar has ended


async def _is_so(found: Awaitable[object], wanted: object) -> bool:
    return await found == wanted


def _budgets(record: KeyRecord) -> list[tuple[str, str, str]]:
    """Return the budgets of a key: its own, and the pools of its project and its tenant."""
    found = [("key", record.kid, "")]
    if record.project_id:
        found.append(("project", record.project_id, record.tenant_id))
    if record.tenant_id:
        found.append(("tenant", record.tenant_id, ""))
    return found
