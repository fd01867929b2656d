"""One of two sidecars fails, and Envoy asks the other one: no request fails."""

import asyncio
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from authz.cli import binaries
from authz.cli.child_processes import ChildProcesses
from authz.cli.devstack import Ports, envoy_config
from authz.core.limits.charge import SpendRequest, charge_for
from authz.core.limits.key_limits import Limits
from authz.core.limits.limit import parse_limits
from authz.core.listen_address import Address
from authz.storage.limits.spend_script import SPEND, arguments, spend_reply
from tests.bench.client import Client
from tests.spending.plans import make_terms
from tests.support.proxy.faults import HTTP2
from tests.support.proxy.retry_faults import TWO_SIDECARS
from tests.support.real import Valkey, eventually
from tests.support.serving import Serving, prepared

REQUESTS = 60
# Ten times the shipped timeouts: a busy machine may stand still for a second.
DEADLINE, ONE_TRY, TIMEOUT = "500ms", "2s", "10s"
LIMIT = "200/d"  # below 300, each request asks the store


@dataclass
class Pair:
    """Two sidecars, and a client of the Envoy that asks both."""

    sidecars: list[Serving]
    client: Client
    key: str
    kid: str
    valkey: Valkey

    def has_used(self, units: int) -> Callable[[], bool]:
        """Return a question: whether the store has counted so many units of LIMIT."""
        charge = charge_for(make_terms(LIMIT, kid=self.kid), 1, int(time.time() * 1000))
        count, *words = arguments(charge, SpendRequest(0))

        def look() -> bool:
            reply = self.valkey.admin.eval(SPEND, int(count), *words)
            return spend_reply(charge, reply).left == (charge.counters[0].limit - units,)

        return look

    async def statuses(self) -> Counter[int]:
        """Send requests one after the other, and count the statuses."""
        return Counter([await self.client.get("/", self.key) for _ in range(REQUESTS)])


@asynccontextmanager
async def pair(
    directory: Path,
    *,
    retries: bool = True,
    dead: bool = False,
    limits: Limits = (),
    charge_once: Mapping[str, Any] | None = None,
    deadline: str = DEADLINE,
) -> AsyncIterator[Pair]:
    """Yield two sidecars. `dead`: nobody listens at the address of the second one.

    limits: of the key. charge_once: of the only route; None: each request is charged. deadline: of
    a Check.
    """
    more = {"check": {"deadline": deadline}, "cache": {"trust_lease": "4s"}}
    with Valkey() as valkey, ChildProcesses() as children:
        sidecars = [Serving(directory, valkey, more) for _ in range(2)]
        for sidecar in sidecars if charge_once else ():
            settings = yaml.safe_load(sidecar.file.read_text())
            settings["routes"] = [{"path": "/**", "charge_once": charge_once}]
            sidecar.file.write_text(yaml.safe_dump(settings))
        (issued,) = await prepared(sidecars[0].file, limits=limits)
        try:
            for sidecar in sidecars[: 1 if dead else 2]:
                sidecar.start()
                await eventually(sidecar.is_ready)
            ports = Ports.free()
            file = children.directory / "envoy.yaml"
            file.write_text(yaml.safe_dump(configuration(ports, sidecars, retries=retries)))
            command = [binaries.envoy(), "-c", file, "--disable-hot-restart"]
            children.spawn("envoy", [*command, "--concurrency", "1", "--log-level", "warning"])
            children.wait("envoy", lambda: accepts(ports.envoy))
            client = await Client.connect("127.0.0.1", ports.envoy)
            yield Pair(sidecars, client, issued.key_text or "", issued.record.kid, valkey)
            await client.close()
        finally:
            for sidecar in sidecars:
                sidecar.__exit__(None, None, None)


def configuration(ports: Ports, sidecars: list[Serving], *, retries: bool) -> dict[str, Any]:
    """Return envoy.yaml with the cluster of deploy/systemd/envoy.yaml.

    Envoy itself answers allowed requests. Health checks come too late to help.
    """
    whole = yaml.safe_load(envoy_config(ports, Address("127.0.0.1", 0)))
    resources = whole["static_resources"]
    shipped = yaml.safe_load(TWO_SIDECARS.read_text())["static_resources"]["clusters"][0]
    options = shipped["typed_extension_protocol_options"][HTTP2]
    options["common_http_protocol_options"]["max_stream_duration"] = ONE_TRY
    if not retries:
        del options["retry_policy"]
    del shipped["health_checks"], shipped["outlier_detection"]
    shipped["load_assignment"]["endpoints"][0]["lb_endpoints"] = [
        {"endpoint": {"address": {"socket_address": {"address": at.host, "port_value": at.port}}}}
        for at in (Address.parse("", sidecar.check) for sidecar in sidecars)
    ]
    resources["clusters"][0] = shipped
    manager = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"][0]["typed_config"]["grpc_service"]["timeout"] = TIMEOUT
    everything = manager["route_config"]["virtual_hosts"][0]["routes"][-1]
    del everything["route"]
    everything["direct_response"] = {"status": 200}
    return whole


def accepts(port: int) -> bool:
    """Return whether somebody listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_a_dead_sidecar_fails_no_request(tmp_path: Path):
    """Nobody listens at one of two addresses: every request is allowed."""
    async with pair(tmp_path, dead=True) as both:
        assert await both.statuses() == {200: REQUESTS}


async def test_without_a_retry_policy_a_dead_sidecar_fails_requests(tmp_path: Path):
    """The same without the policy: requests fail, so that the policy makes the difference."""
    async with pair(tmp_path, dead=True, retries=False) as both:
        assert (await both.statuses())[503] > 0


async def test_a_killed_sidecar_fails_no_request(tmp_path: Path):
    """A sidecar is killed between requests: every later request is allowed."""
    async with pair(tmp_path) as both:
        assert await both.statuses() == {200: REQUESTS}
        both.sidecars[0].tell(signal.SIGKILL)
        assert await both.statuses() == {200: REQUESTS}


async def test_a_hung_sidecar_fails_no_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A stopped sidecar keeps its connections and answers nothing: requests go to the other one."""
    monkeypatch.setitem(globals(), "REQUESTS", 6)  # half of them wait for ONE_TRY
    async with pair(tmp_path) as both:
        assert await both.statuses() == {200: REQUESTS}
        both.sidecars[0].tell(signal.SIGSTOP)
        assert await both.statuses() == {200: REQUESTS}
        both.sidecars[0].tell(signal.SIGCONT)


@pytest.mark.parametrize(("headers", "charged"), [(["x-request-id"], 1), ([], 2)])
async def test_a_check_that_envoy_repeats(headers: list[str], charged: int, tmp_path: Path):
    """A sidecar stops after the store has counted a request: Envoy asks the other sidecar.

    With `charge_once` the store counts the request once.
    """
    limits, once = parse_limits("limits", (LIMIT,)), {"headers": headers} if headers else None
    async with pair(tmp_path, limits=limits, charge_once=once, deadline="1500ms") as both:
        before = (await both.statuses())[200]
        os.kill(both.valkey.pid, signal.SIGSTOP)
        asking = asyncio.ensure_future(both.client.get("/", both.key))
        await asyncio.sleep(0.8)  # the call lies before the store, and is not late yet
        for sidecar in both.sidecars:
            sidecar.tell(signal.SIGSTOP)
        os.kill(both.valkey.pid, signal.SIGCONT)
        try:
            await eventually(both.has_used(before + 1))
            await asyncio.sleep(2.2)  # after ONE_TRY Envoy asks the other one
        finally:
            for sidecar in both.sidecars:
                sidecar.tell(signal.SIGCONT)
        assert await asking == 200
        await eventually(both.has_used(before + charged))
