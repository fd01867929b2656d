"""Two sidecars behind a real Envoy are restarted in turn under load: does a request fail?

    python -m tests.bench.rolling [--rate 1000] [--rounds 2] [--transport fast] [--json]
    python -m tests.bench.rolling --processes 2 [--kill]

With --processes one `authz serve` runs both, and SIGHUP restarts them; with --kill one of them
is killed instead. Envoy runs from envoy.yaml as it is shipped, with two endpoints, and answers what
was allowed by itself. As in a rollout, a sidecar is told to end, ends, and is started anew; when it
says that it is ready the other one is next. A failed request is one without an answer, or with any
but 200.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import signal
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop
import yaml

from authz.cli import binaries
from authz.cli.child_processes import ChildProcesses
from authz.cli.devstack import Ports, envoy_config
from authz.core.listen_address import Address
from tests.bench.client import Client
from tests.bench.figures import offer_record, record, tell
from tests.support.real import Valkey, eventually
from tests.support.serving import Serving, prepared

CONNECTIONS = 20
KEYS = 20
TWO_SIDECARS = Path(__file__).parents[2] / "deploy" / "systemd" / "envoy.yaml"
RESTART_SECONDS = 60.0
NOTICED_SECONDS = 12.0  # in which Envoy uses a sidecar again that it had ejected


@dataclass
class Tally:
    """The answers that the load has seen."""

    answers: Counter[str] = field(default_factory=Counter)  # statuses, and names of exceptions
    took: list[float] = field(default_factory=list)  # seconds, each request
    lasted: float = 0.0  # seconds
    is_over: bool = (
        False  # the load ends itself: a cancel may be lost in a wait that ends just then
    )

    @property
    def failed(self) -> Counter[str]:
        """All that was no 200."""
        return Counter({answer: n for answer, n in self.answers.items() if answer != "200"})


@dataclass
class Pair:
    """Two sidecars, an Envoy that asks both, and keys that both know."""

    sidecars: list[Serving]
    envoy: Address
    keys: list[str]

    async def roll(self, rounds: int) -> None:
        """Restart one after the other, so many times."""
        for _, sidecar in itertools.product(range(rounds), self.sidecars):
            sidecar.tell(signal.SIGTERM)
            await eventually(sidecar.has_ended, RESTART_SECONDS)
            if sidecar.wait() != 0:
                raise AssertionError(f"it ended badly:\n{sidecar.log.read_text()[-2000:]}")
            sidecar.start()
            await eventually(lambda one=sidecar: asyncio.to_thread(one.is_ready), RESTART_SECONDS)

    async def load(self, rate: float, tally: Tally, connections: int = CONNECTIONS) -> None:
        """So many requests a second over kept connections, until it is over."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(connections):
                tasks.create_task(self._ask(number / rate, connections / rate, tally))

    async def _ask(self, later: float, pause: float, tally: Tally) -> None:
        client = await Client.connect(self.envoy.host, self.envoy.port)
        due = time.perf_counter() + later
        for key in itertools.cycle(self.keys):
            if tally.is_over:
                break
            due += pause
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            try:
                async with asyncio.timeout(10):
                    answer = str(await client.get("/", key))
            except (OSError, EOFError, TimeoutError) as cause:
                answer = type(cause).__name__
                client = await Client.connect(self.envoy.host, self.envoy.port)
            tally.answers[answer] += 1
            tally.took.append(time.perf_counter() - due)
        await client.close()


@dataclass
class Processes(Pair):
    """Like a pair, but one command runs all sidecars."""

    count: int = 2
    kills: bool = False

    async def roll(self, rounds: int) -> None:
        """Replace all by SIGHUP, so many times; or kill one, in turn."""
        [command] = self.sidecars
        for number in range(rounds):
            if not self.kills:
                replaced = command.log.read_text().count("all processes are replaced")
                command.tell(signal.SIGHUP)
                await eventually(
                    lambda before=replaced: (
                        command.log.read_text().count("all processes are replaced") > before
                    ),
                    RESTART_SECONDS,
                )
                continue
            os.kill(command.pid_of(number % self.count), signal.SIGKILL)
            await eventually(lambda: not self._all_ready(), RESTART_SECONDS)
            await eventually(self._all_ready, RESTART_SECONDS)
            await asyncio.sleep(NOTICED_SECONDS)

    def _all_ready(self) -> bool:
        _, document = self.sidecars[0].look()
        return all(each["ready"] for each in document["components"].values())


@asynccontextmanager
async def pair(transport: str, **shutdown: str) -> AsyncIterator[Pair]:
    """Both ready, and Envoy knows. `shutdown`: settings, where not the default."""
    with ExitStack() as opened:
        directory = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="authz-")))
        valkey = opened.enter_context(Valkey())
        more = {"check": {"transport": transport}, "shutdown": shutdown or {"delay": None}}
        sidecars = [Serving(directory, valkey, more) for _ in range(2)]
        keys = [issued.key_text for issued in await prepared(sidecars[0].file, KEYS)]
        for sidecar in sidecars:
            opened.enter_context(sidecar)
            await eventually(sidecar.is_ready)
        checks = [Address.parse("", sidecar.check) for sidecar in sidecars]
        envoy, admin = start_envoy(opened, checks)
        await eventually(lambda: asyncio.to_thread(healthy, admin, len(checks)))
        yield Pair(sidecars, envoy, keys)


@asynccontextmanager
async def processes(count: int, *, kills: bool, **shutdown: str) -> AsyncIterator[Processes]:
    """Yield as many sidecars of one command, on Unix sockets, all ready, and Envoy knows them."""
    with ExitStack() as opened:
        directory = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="authz-")))
        valkey = opened.enter_context(Valkey())
        check = Address("", 0, str(directory / "check.sock"))
        more = {"check": {"listen": str(check)}, "shutdown": shutdown or {"delay": None}}
        command = Serving(directory, valkey, more, ["--processes", str(count)])
        keys = [issued.key_text for issued in await prepared(command.file, KEYS)]
        opened.enter_context(command)
        envoy, admin = start_envoy(opened, [check.numbered(number) for number in range(count)])
        found = Processes([command], envoy, keys, count, kills)
        await eventually(command.is_ready)
        await eventually(found._all_ready)
        await eventually(lambda: asyncio.to_thread(healthy, admin, count))
        yield found


def start_envoy(
    opened: ExitStack, checks: list[Address], cluster: dict[str, Any] | None = None
) -> tuple[Address, Address]:
    """Start an Envoy that asks the sidecars at these addresses.

    cluster: of the sidecars; None: as envoy.yaml has it. Return Envoy's own address, and that of
    its admin interface.
    """
    ports = Ports.free()
    children = opened.enter_context(ChildProcesses())
    file = children.directory / "envoy.yaml"
    file.write_text(yaml.safe_dump(_configured(ports, checks, cluster)))
    command = [binaries.envoy(), "-c", file, "--disable-hot-restart", "--log-level", "warning"]
    children.spawn("envoy", [*command, "--concurrency", "2"])
    return Address("127.0.0.1", ports.envoy), Address("127.0.0.1", ports.envoy_admin)


def _endpoint(check: Address) -> dict[str, Any]:
    if check.path:
        address: dict[str, Any] = {"pipe": {"path": check.path}}
    else:
        address = {"socket_address": {"address": check.host, "port_value": check.port}}
    return {"endpoint": {"address": address}}


def _configured(
    ports: Ports, checks: list[Address], cluster: dict[str, Any] | None
) -> dict[str, Any]:
    """Return envoy.yaml with an endpoint for each sidecar and the retry policy for two.

    Envoy itself answers allowed requests.
    """
    wanted = yaml.safe_load(envoy_config(ports, Address("127.0.0.1", 0)))
    resources = wanted["static_resources"]
    authz = next(cluster for cluster in resources["clusters"] if cluster["name"] == "authz")
    shipped = yaml.safe_load(TWO_SIDECARS.read_text())["static_resources"]["clusters"][0]
    for part in ("typed_extension_protocol_options", "common_lb_config"):
        authz[part] = shipped[part]
    if cluster is not None:
        authz.clear()
        authz.update(cluster)
    (locality,) = authz["load_assignment"]["endpoints"]
    locality["lb_endpoints"] = [_endpoint(check) for check in checks]
    manager = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    everything = manager["route_config"]["virtual_hosts"][0]["routes"][-1]
    del everything["route"]
    everything["direct_response"] = {"status": 200}
    return wanted


def healthy(admin: Address, count: int) -> bool:
    """Return whether Envoy found so many sidecars healthy.

    It may use one of them alone until then, and a request has no other one to go to.
    """
    with contextlib.suppress(OSError):
        stats = f"http://{admin}/stats?filter=^cluster.authz.membership_healthy$"
        with urllib.request.urlopen(stats, timeout=5) as answer:
            return int(answer.read().partition(b":")[2] or 0) == count
    return False


async def measured(rate: float, rounds: int, sidecars: AbstractAsyncContextManager[Pair]) -> Tally:
    """Return the answers that the load sees while all are restarted, so many times."""
    tally = Tally()
    async with sidecars as running:
        began = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(running.load(rate, tally))
            await running.roll(rounds)
            tally.lasted = time.perf_counter() - began
            tally.is_over = True
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--transport", choices=["fast", "grpcio"], default="fast")
    parser.add_argument("--processes", type=int, default=0)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--delay", default="5s", help="shutdown.delay")
    parser.add_argument("--json", action="store_true")
    offer_record(parser)
    given = parser.parse_args()
    if given.processes:
        sidecars = processes(given.processes, kills=given.kill, delay=given.delay)
    else:
        sidecars = pair(given.transport, delay=given.delay)
    tally = uvloop.run(measured(given.rate, given.rounds, sidecars))
    ordered = sorted(tally.took)
    found = {
        "transport": given.transport,
        "restarts": (1 if given.kill else given.processes or 2) * given.rounds,
        "requests": len(ordered),
        "requests_per_second": round(len(ordered) / tally.lasted),
        "failed": dict(tally.failed),
        "p50_ms": round(ordered[len(ordered) // 2] * 1000, 2),
        "p99_ms": round(ordered[len(ordered) * 99 // 100] * 1000, 2),
        "max_ms": round(ordered[-1] * 1000, 1),
    }
    tell(found, as_json=given.json)
    if given.record:
        name = "rolling" if given.transport == "fast" else "rolling.grpcio"
        if given.processes:
            name = f"rolling.processes{'.kill' if given.kill else ''}"
        record({f"{name}.failed": tally.failed.total(), f"{name}.p99": found["p99_ms"]})


if __name__ == "__main__":
    main()
