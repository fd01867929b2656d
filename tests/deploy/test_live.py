"""Every query of dashboards and rules returns numbers for a working sidecar."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Iterator
from typing import Any

import grpc.aio
import promql_parser
from envoy.service.auth.v3.external_auth_pb2_grpc import AuthorizationStub

from authz.core.usage.anomalies.habits import fresh, pack
from authz.core.usage.anomalies.ports import Round
from authz.core.usage.billing.differences import closed_before
from authz.settings import model
from authz.storage.endpoint import Endpoint
from authz.storage.usage.habits import StoredHabits
from authz.wiring import administration
from tests.support import hasty
from tests.support.deploy.prometheus import Prometheus
from tests.support.deploy.queries import inner_parts, panel_queries, parsed, parts
from tests.support.deploy.rules import RECORDS, RULES
from tests.support.limits import limits
from tests.support.metering import MeterProcess, batch, export
from tests.support.real import Valkey, eventually
from tests.support.rpc.admin_command import AdminCommand
from tests.support.rpc.messages import check_request
from tests.support.serving import Serving, prepared
from tests.support.storage import stored
from tests.support.usage import line

SECONDS = 60.0  # the longest wait until every query has a result; usually a few are enough
FILTERS = {">", "<", ">=", "<=", "==", "!=", "and", "or", "unless"}


def filters(node: Any) -> bool:
    """Return whether the query has a result only while something is wrong."""
    return any(
        (isinstance(part, promql_parser.BinaryExpr) and operator(part) in FILTERS)
        or (isinstance(part, promql_parser.Call) and part.func.name == "absent")
        for part in parts(node)
    )


def operator(node: Any) -> str:
    """Return the operator of a binary expression."""
    return str(node.op)


def sides(node: Any) -> Iterator[str]:
    """Yield the operands of a rule: they have a result also while all is well."""
    if isinstance(node, promql_parser.NumberLiteral):
        return
    if filters(node):
        for one in inner_parts(node):
            yield from sides(one)
    elif not (isinstance(node, promql_parser.VectorSelector) and node.name in COMPARISONS):
        yield str(node)


COMPARISONS = {rule["record"] for rule in RECORDS if filters(parsed(rule["expr"]))}


def queries() -> dict[str, str]:
    """Return every query by its place."""
    found = {}
    for where, query, _ in panel_queries():
        found[where if where not in found else f"{where}: {query}"] = str(parsed(query))
    for rule in RULES:
        name = rule.get("alert", rule.get("record"))
        for number, query in enumerate(sides(parsed(rule["expr"]))):
            found[f"{name} {rule.get('labels')} {number}"] = query
    return found


async def busy(sidecar: Serving, keys: list[str], over: asyncio.Event) -> None:
    """Send Checks that hit the cache, miss it, and are refused, until it is over."""
    good = [check_request([("x-api-key", key)]) for key in keys]
    bad = [check_request(), check_request([("x-api-key", "nonsense-of-some-length")])]
    async with grpc.aio.insecure_channel(sidecar.check) as channel:
        check = AuthorizationStub(channel).Check
        for one, wrong in zip(itertools.cycle(good), itertools.cycle(bad), strict=False):
            await check(one, timeout=10)
            await check(wrong, timeout=10)
            await asyncio.sleep(0.005)
            if over.is_set():
                break


async def changing(sidecar: Serving, kid: str, over: asyncio.Event) -> None:
    """Disable and enable a key until it is over."""
    async with administration.administration(model.load(sidecar.file, environ={})) as lifecycle:
        author = lifecycle.author("tests")
        for change in itertools.cycle((lifecycle.disable, lifecycle.enable)):
            await change(kid, author)
            await asyncio.sleep(0.1)
            if over.is_set():
                break


async def reporting(meter: MeterProcess, kid: str, over: asyncio.Event) -> None:
    """Send entries of a key and of none until it is over."""
    while not over.is_set():
        used = line(kid=kid, started=int(time.time() * 1000))  # the clock of the other one is off
        await export(meter.listen, batch(used, line(kid=kid), line(kid="-")))
        await asyncio.sleep(0.1)


async def judged(valkey: Valkey, kid: str, over: asyncio.Event) -> None:
    """Let the latest closed hour of a key be judged again and again until it is over."""
    async with Endpoint.parse(valkey.url).client() as client:
        store = StoredHabits(client)
        while not over.is_set():
            hour = closed_before(await store.now_ms()) - 1
            await store.save({kid: pack(fresh(hour))}, [])
            await store.finish(Round(hour - 1))
            await asyncio.sleep(0.5)


async def test_every_query_returns_numbers(tmp_path, own_valkey: Valkey) -> None:
    """Queries about rare events have results after refusals, changes, limits and faults."""
    more = {"check": {"transport": "fast"}, "telemetry": {"metrics": True}}
    with (
        Serving(tmp_path, own_valkey, more) as sidecar,
        MeterProcess(tmp_path, own_valkey.url) as meter,
    ):
        issued = await prepared(sidecar.file, 60)
        *keys, changed, damaged = issued
        keys += await prepared(sidecar.file, limits=limits("1/h"))
        await eventually(sidecar.is_ready)
        await eventually(meter.is_ready)
        targets = [sidecar.ops.removeprefix("http://"), meter.ops]
        with (
            AdminCommand(sidecar.file, tmp_path, program=hasty.PROGRAM) as admin,
            Prometheus(tmp_path, [*targets, admin.http]) as prometheus,
        ):
            await eventually(prometheus.is_ready, SECONDS)
            await eventually(lambda: prometheus.values("authz_ready"), SECONDS)
            over, at_once = asyncio.Event(), asyncio.Event()
            at_once.set()
            async with asyncio.TaskGroup() as working:
                working.create_task(busy(sidecar, [one.key_text for one in keys], over))
                working.create_task(changing(sidecar, changed.record.kid, over))
                working.create_task(reporting(meter, keys[0].record.kid, over))
                working.create_task(judged(own_valkey, keys[0].record.kid, over))
                own_valkey.admin.hdel(stored.key(damaged.record.kid), "status")
                await busy(sidecar, [damaged.key_text], at_once)
                missing = await without_numbers(prometheus)
                over.set()
    assert missing == set()


async def without_numbers(prometheus: Prometheus) -> set[str]:
    """Return the places of queries that have no result within SECONDS."""
    pending = queries()

    async def is_over() -> bool:
        for where, query in list(pending.items()):
            if await asyncio.to_thread(prometheus.values, query):
                del pending[where]
        return not pending

    with contextlib.suppress(AssertionError):  # the caller says what is missing
        await eventually(is_over, SECONDS)
    return set(pending)
