"""Limits through a real Envoy with two sidecars."""

import asyncio
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml

from authz.cli import devstack
from authz.core.limits.limit import OnOutage, parse_limits
from tests.bench.client import Client
from tests.spending.history import Rate, used, violations
from tests.support.real import free_port
from tests.support.stalls import conclusive, now
from tests.support.system import PATIENT, Installation, running

RATE = 1000  # requests a second, of two keys together
SECONDS = 4.0
CONNECTIONS = 16


@pytest.fixture
def two_sidecars(transport, monkeypatch):
    """An installation whose Envoy uses a second sidecar."""
    check, ops = free_port(), free_port()
    one = devstack.envoy_config

    def both(ports, address, _backend=None):
        wanted = yaml.safe_load(one(ports, address))
        clusters = wanted["static_resources"]["clusters"]
        [cluster] = [cluster for cluster in clusters if cluster["name"] == "authz"]
        where = {"socket_address": {"address": "127.0.0.1", "port_value": check}}
        second = {"endpoint": {"address": where}}
        cluster["load_assignment"]["endpoints"][0]["lb_endpoints"].append(second)
        return yaml.safe_dump(wanted)

    monkeypatch.setattr(devstack, "envoy_config", both)
    for name, value in PATIENT.items():
        monkeypatch.setenv(name, value)
    with running() as (stack, children):
        settings = yaml.safe_load(Path(stack.config).read_text())
        settings["check"]["listen"] = f"127.0.0.1:{check}"
        settings["ops"]["listen"] = f"127.0.0.1:{ops}"
        file = Path(stack.config).with_name("second.yaml")
        file.write_text(yaml.safe_dump(settings))
        command = [sys.executable, "-m", "authz.cli.main", "--config", str(file), "serve"]
        children.spawn("second sidecar", command)
        children.wait("second sidecar", lambda: _is_ready(ops))
        yield Installation(stack)


def _is_ready(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


async def load(url, keys, seconds):
    """Ask for each key in turn at RATE; what was let pass, by key, as intervals in us.

    With the statuses that came, and how many times a second each key was asked for.
    """
    host, _, port = url.removeprefix("http://").partition(":")
    passed = [[] for _ in keys]
    statuses = set()
    began, asked = now(), 0

    async def ask():
        nonlocal asked
        client = await Client.connect(host, int(port))
        while (gone := now() - began) < seconds:
            if asked >= gone * RATE:
                await asyncio.sleep(0.001)
                continue
            which, asked = asked % len(keys), asked + 1
            early = int(now() * 1e6)
            status = await client.get("/", keys[which])
            statuses.add(status)
            if status == 200:
                passed[which].append((early, int(now() * 1e6)))
        await client.close()

    await asyncio.gather(*(ask() for _ in range(CONNECTIONS)))
    return passed, statuses, asked / len(keys) / (now() - began)


def test_two_sidecars_never_let_more_pass_than_the_limit(two_sidecars):
    """1,000 requests a second for a large limit and a small one: in no window more than either.

    And nearly all of it, of what a machine that did not stand still has asked for.
    """
    rates = [Rate(300, 1), Rate(20, 1)]

    def play():
        keys = [
            two_sidecars.issue(
                limits=parse_limits("limits", (f"{rate.limit}/s",)), on_outage=OnOutage.DENY
            ).key_text
            for rate in rates
        ]
        passed, statuses, demand = asyncio.run(load(two_sidecars.stack.envoy, keys, SECONDS))
        assert statuses == {200, 429}
        for found, rate in zip(passed, rates, strict=True):
            assert violations(found, [rate]) == []
        return min(
            used(found, rate) / min(1, demand / rate.limit)
            for found, rate in zip(passed, rates, strict=True)
        )

    assert conclusive(play, lambda part: part > 0.8) > 0.8
