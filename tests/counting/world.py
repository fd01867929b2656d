"""The world of an episode: the cluster's faults, the processes under test, and what they wrote."""

import asyncio
import contextlib
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Self

from authz.core.partitions import Partitions
from authz.core.usage.completeness import missing
from authz.core.usage.counts import Level
from authz.storage.endpoint import Endpoint
from authz.storage.usage.stored_usage import StoredUsage
from tests.chaos.clusters import Hit, suffer
from tests.chaos.partition import Partition
from tests.counting.judge import Count, Fault, Reigns, Usage, Verdict, judge_limits, judge_usage
from tests.counting.meters import KINDS
from tests.counting.observer import Observer
from tests.counting.plan import COUNT, KEYS, groups
from tests.counting.sidecar import STORES, read_counts
from tests.spending.history import read
from tests.support.cluster import Cluster
from tests.support.fakes import make_keyring

DAY_MS = 86_400_000
KILLED_EVERY = 1.5  # seconds: within a fault a meter is killed so often
IN_ORDER = ("failover", "slot moved at once", "slot moved key by key", "node added and removed")
STOPS_WITHIN = 120.0  # seconds


class World(contextlib.AsyncExitStack):
    """Processes on a cluster of eight partitions. It is as much of a world as `suffer` needs."""

    def __init__(self, cluster: Cluster, dice: random.Random) -> None:
        super().__init__()
        self.cluster = cluster
        self.endpoint = Endpoint.parse(cluster.url, partitions=COUNT)
        self.dice = dice
        self.faults: list[str] = []
        self.played: list[Fault] = []
        self._sidecars: dict[str, list[tuple[Path, Path]]] = {}
        self._processes: list[tuple[asyncio.subprocess.Process, Path]] = []

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._directory = Path(tempfile.mkdtemp(prefix="authz-counting-"))
        self.callback(shutil.rmtree, self._directory)
        ring = make_keyring()
        ring.partitions = Partitions(COUNT)
        stores = [Partition.of(one, ring) for one in self.endpoint.partitions()]
        for store in stores:
            async with store:
                pass  # it is set up
        self._observer = self.enter_context(Observer(self.cluster, self.endpoint))
        self.callback(self._kill)
        return self

    @property
    def confirmed(self) -> int:
        """How many writes all replicas had."""
        return self._observer.confirmed

    def begin(self, fault: str) -> None:
        """Note that this fault begins."""
        self.faults.append(fault)

    def note(self, _step: str) -> None:
        """Note nothing: steps of a fault excuse no count."""

    @contextlib.asynccontextmanager
    async def loss_of(self, _partitions: frozenset[int]) -> AsyncIterator[None]:
        """Note nothing: no outage excuses a count."""
        yield

    async def start(self, sidecars: int) -> None:
        """Start so many sidecars, a sidecar of each mutant with the load of three, and the meters.

        The first sidecar keeps its links to an owner that is cut off.
        """
        self._meters = await self._run("meters", {"result": str(self._directory / "meters.json")})
        for kind in STORES:
            for at in range(sidecars if kind == "right" else 1):
                name = f"{kind}-{at}"
                files = self._directory / f"{name}.admitted", self._directory / f"{name}.counts"
                given = {"kind": kind, "seed": self.dice.random(), "is_cut_off": at == 0}
                given |= {"admissions": str(files[0]), "counts": str(files[1])}
                given |= {"times": 3 / sidecars if kind == "right" else 3}
                await self._run("sidecar", given)
                self._sidecars.setdefault(kind, []).append(files)

    async def _run(self, module: str, given: dict) -> asyncio.subprocess.Process:
        log = self._directory / f"{len(self._processes)}.log"
        given = {"url": self.cluster.url} | given
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", f"tests.counting.{module}", json.dumps(given)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=output,
            )
        self._processes.append((process, log))
        if await process.stdout.readline() != b"ready\n":
            raise AssertionError(f"{module} did not start:\n{log.read_text()[-2000:]}")
        return process

    async def suffer(self, hit: Hit) -> None:
        """Play a fault to its end. Meters of each kind are killed meanwhile, in turn."""
        began = time.time_ns() // 1000
        killing = asyncio.create_task(self._kill_meters())
        await suffer(self, self.cluster, hit)
        killing.cancel()
        name = self.faults[-1]
        self.played.append(Fault(name, began, time.time_ns() // 1000, name in IN_ORDER))

    async def _kill_meters(self) -> None:
        while True:
            await asyncio.sleep(KILLED_EVERY)
            self._meters.stdin.write(b"kill\n")

    async def judge(self) -> dict[str, Verdict]:
        """End all processes and return the verdict for each kind."""
        for process, log in self._processes:
            assert process.returncode is None, log.read_text()[-2000:]
            process.stdin.close()
        for process, log in self._processes:
            code = await asyncio.wait_for(process.wait(), STOPS_WITHIN)
            assert code == 0, log.read_text()[-2000:]
        reigns = Reigns(self._observer.reigns(), self.played)
        limits = {f"limits {kind}": self._judge_limits(kind, reigns) for kind in STORES}
        found = json.loads((self._directory / "meters.json").read_text())
        usage = {f"usage {kind}": await self._judge_usage(found[kind], reigns) for kind in KINDS}
        return limits | usage

    def _judge_limits(self, kind: str, reigns: Reigns) -> Verdict:
        files = self._sidecars[kind]
        counts = [one for _, file in files for one in read_counts(file)]
        lost = [
            one for one in counts if reigns.may_lack(one.key // KEYS, one.at, self._port(one.port))
        ]
        every = [group for partition in range(COUNT) for group in groups(partition)]
        return judge_limits(every, read([file for file, _ in files]), lost)

    async def _judge_usage(self, found: dict, reigns: Reigns) -> Verdict:
        commits = [Count(*commit) for commit in found["commits"]]
        lost = [one for one in commits if reigns.may_lack(one.key, one.at, self._port(one.port))]
        usage = {partition: await self._usage(partition, found) for partition in range(COUNT)}
        verdict = judge_usage(usage, lost)
        if found["unconfirmed"]:
            verdict.violations.append(f"{found['unconfirmed']} batches were never confirmed")
        return verdict

    async def _usage(self, partition: int, found: dict) -> Usage:
        sent, process = found["sent"][partition], f"{found['process']}{partition:02x}"
        today = time.time_ns() // 1_000_000 // DAY_MS
        # A client of its own finds the owner: others still know an earlier one.
        async with aclosing(self.endpoint.partitions()[partition].client()) as client:
            stored = StoredUsage(client)
            kid, days = found["kids"][partition], range(today - 1, today + 1)
            counted = (await stored.counts(kid, Level.DAY, days)).values()
            seen = [one for one in await stored.processes() if one.process == process]
        gaps = sum(missing(one, sent) for one in seen) if seen else sent
        return Usage(sent, sum(one.requests for one in counted), gaps)

    def _port(self, port: int) -> int:
        """Return the port of a node, also for that of the gate in front of it."""
        gate = self.cluster._gate
        return self.cluster.owner.port if gate and port == gate.port else port

    def _kill(self) -> None:
        for process, _ in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
