"""One of two sidecars fails, and Envoy asks the other one: no request fails."""

import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from authz.cli import binaries
from authz.cli.child_processes import ChildProcesses
from authz.cli.devstack import Ports, envoy_config
from authz.core.listen_address import Address
from tests.bench.client import Client
from tests.support.proxy.faults import HTTP2
from tests.support.proxy.retry_faults import TWO_SIDECARS
from tests.support.real import Valkey, eventually
from tests.support.serving import Serving, prepared

REQUESTS = 60
# Ten times the shipped timeouts: a busy machine may stand still for a second.
DEADLINE, ONE_TRY, TIMEOUT = "500ms", "2s", "10s"


@dataclass
class Pair:
    """Two sidecars, and a client of the Envoy that asks both."""

    sidecars: list[Serving]
    client: Client
    key: str

    async def statuses(self) -> Counter[int]:
        """Send requests one after the other, and count the statuses."""
        return Counter([await self.client.get("/", self.key) for _ in range(REQUESTS)])


@asynccontextmanager
async def pair(directory: Path, *, retries: bool = True, dead: bool = False) -> AsyncIterator[Pair]:
    """Yield two sidecars. `dead`: nobody listens at the address of the second one."""
    more = {"check": {"deadline": DEADLINE}, "cache": {"trust_lease": "4s"}}
    with Valkey() as valkey, ChildProcesses() as children:
        sidecars = [Serving(directory, valkey, more) for _ in range(2)]
        (issued,) = await prepared(sidecars[0].file)
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
            yield Pair(sidecars, client, issued.key_text or "")
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
