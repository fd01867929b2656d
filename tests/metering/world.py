"""A store, three meters, a gate and an Envoy with two workers, whose links can be cut."""

import asyncio
import contextlib
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from authz.cli.devstack import Ports
from authz.core.records import Status
from authz.core.times import rfc3339
from authz.core.usage.completeness import missing
from authz.core.usage.counts import OUTCOMES, Level
from authz.core.usage.line import LINE
from authz.core.usage.outcome import Outcome
from authz.proxy.usage_logger import SELECTION
from authz.storage.usage.stored_usage import StoredUsage
from tests.metering.clients import NOBODY, Clients
from tests.metering.proxy import Proxy
from tests.support import envoy_versions
from tests.support.gate import Gate
from tests.support.metering import MeterProcess
from tests.support.proxy import envoys
from tests.support.proxy.request_shapes import backend, grpc_backend, shapes_configuration
from tests.support.real import RealClock, Valkey, eventually
from tests.support.rpc.door import Door
from tests.support.rpc.messages import check_request
from tests.support.rpc.servers import serving

KEYS = 5
DAY_MS = 86_400_000
HOUR_MS = 3_600_000


class World(contextlib.AsyncExitStack):
    """Everything that runs. links: to the store, by meter. doors: from Envoy, by meter.

    log: the same records in a file that Envoy writes. settings: of commands.
    """

    valkey: Valkey
    meters: list[MeterProcess]
    links: list[Gate]
    doors: list[Gate]
    clients: Clients
    proxy: Proxy
    log: Path
    settings: Path

    def __init__(self, *, meters: int, seed: int, mutant: str = "") -> None:
        super().__init__()
        self._count = meters
        self._seed = seed
        self._mutant = mutant

    async def __aenter__(self):
        await super().__aenter__()
        try:
            await self._start()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def _start(self) -> None:
        directory = Path(self.enter_context(tempfile.TemporaryDirectory()))
        always = ("--appendonly", "yes", "--appendfsync", "everysec")
        self.valkey = self.enter_context(Valkey(*always))
        peppers = [{"version": 1, "file": str(directory / "pepper")}]
        document = {"redis": {"url": self.valkey.url}, "keys": {"peppers": peppers}}
        self.settings = directory / "authz.yaml"
        self.settings.write_text(yaml.safe_dump(document))
        made = await self._command("init")
        assert made[0] == 0, made
        self.meters, self.links, self.doors = [], [], []
        for _ in range(self._count):
            link = await self.enter_async_context(Gate(self.valkey.port))
            url = f"redis://127.0.0.1:{link.port}/0"
            meter = self.enter_context(MeterProcess(directory, url, mutant=self._mutant))
            self.links.append(link)
            self.meters.append(meter)
            self.doors.append(await self.enter_async_context(Gate(meter.listen.port)))
        door = Door()
        keys = [door.issue(client_id=f"client-{number}") for number in range(KEYS)]
        revoked = door.issue(status=Status.REVOKED)
        self._unlogged = len(keys) + 1  # answers that fill the cache, without Envoy
        for _, key in (*keys, revoked):
            await door.answer(check_request([("x-api-key", key)]))
        http = await self.enter_async_context(backend())
        calls = await self.enter_async_context(grpc_backend())
        gate = await self.enter_async_context(serving("fast", door))
        ports = Ports.free()
        whole = configuration(ports, gate.address, http, calls, [each.port for each in self.doors])
        self.log = directory / "usage.log"
        envoys.manager_of(whole)["access_log"].append(file_logger(self.log))
        self.proxy = Proxy(whole, directory / "envoy.yaml")
        await self.proxy.start()
        self.push_async_callback(self.proxy.stop)
        texts = {record.kid: key for record, key in (*keys, revoked)}
        self.clients = Clients(ports.envoy, texts, {revoked[0].kid}, self._seed)
        for meter in self.meters:
            await eventually(meter.is_ready, 100)

    async def reconcile(self) -> tuple[int, str]:
        """Return the exit status and the output of `authz usage reconcile` for the log."""
        now = RealClock().wall_ms()
        span = ("--since", rfc3339(now - HOUR_MS), "--until", rfc3339(now + HOUR_MS))
        return await self._command("usage", "reconcile", "--file", str(self.log), *span)

    async def _command(self, *words: str) -> tuple[int, str]:
        """Run `authz` with the settings of the store. Return its exit status and its output."""
        command = [sys.executable, "-m", "authz.cli.main", "--config", str(self.settings), *words]
        ran = await asyncio.to_thread(
            subprocess.run, command, check=False, capture_output=True, text=True
        )
        return ran.returncode, (ran.stdout + ran.stderr).strip()

    async def drain(self) -> None:
        """Drain Envoy while no client begins a request, and start another one."""
        await self.clients.pause()
        await self.proxy.drain()
        await self.proxy.start()
        self.clients.resume()

    async def counted(self) -> Counter[tuple[str, str]]:
        """Return the counted requests by kid and outcome; kid "" for those without a key."""
        today = RealClock().wall_ms() // DAY_MS
        days, found = range(today - 1, today + 1), Counter()
        async with self.valkey.endpoint.client() as client:
            usage = StoredUsage(client)
            for kid in self.clients.keys:
                for counts in (await usage.counts(kid, Level.DAY, days)).values():
                    for outcome in Outcome:
                        found[kid, outcome.name] += counts[OUTCOMES[outcome]]
            for facts in (await usage.days("", days)).values():
                found[NOBODY, Outcome.DENIED.name] += sum(facts.denials.values())
        return +found

    async def missing(self) -> int:
        """Return how many charge ids of the gate are missing up to the highest that came."""
        async with self.valkey.endpoint.client() as client:
            found = await StoredUsage(client).processes()
        return sum(missing(each, each.highest) for each in found) - self._unlogged

    async def repeated(self) -> int:
        """Return how many entries came again and were left out."""
        async with self.valkey.endpoint.client() as client:
            return (await StoredUsage(client).sums()).get("repeated", 0)


def configuration(ports: Ports, check, http: int, calls: int, meters: list[int]) -> dict[str, Any]:
    """envoy.yaml for requests of every shape, with several meters."""
    whole = shapes_configuration(ports, check, http, calls)
    clusters = whole["static_resources"]["clusters"]
    (usage,) = (cluster for cluster in clusters if cluster["name"] == "authz_usage")
    usage["load_assignment"]["endpoints"] = [
        {
            "lb_endpoints": [
                {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}
                for host, port in (("127.0.0.1", port) for port in meters)
            ]
        }
    ]
    return envoy_versions.adapted(whole)


def file_logger(path: Path) -> dict[str, Any]:
    """Return the usage logger that writes a file."""
    kind = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
    text = {"text_format_source": {"inline_string": f"{LINE}\n"}}
    return {
        "name": "envoy.access_loggers.file",
        "filter": SELECTION,
        "typed_config": {"@type": kind, "path": str(path), "log_format": text},
    }
