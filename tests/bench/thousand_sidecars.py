"""The cost of a thousand sidecars for one store, and the time until a change reaches them all.

    python -m tests.bench.thousand_sidecars [--links 1000] [--processes 2] [--record]

A real store, and the data path of each sidecar (link, feed, cache, registry entry, link for
limits), in a few processes on the same machine. The store's processor time is that of its main
thread. Times contain the work of all sidecars on the cores of this machine.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from typing import Any, Self

import uvloop
from redis.asyncio import Redis

from authz.core.changes import Author
from authz.core.new_keys import KeySpec, issue
from authz.storage import functions
from authz.storage.change_script import APPLY_CHANGE, script_input
from authz.storage.keys import StoredKeys
from authz.storage.registry import StoredSidecars
from tests.bench.figures import machine, offer_record, record
from tests.bench.thousand_figures import SUSTAINED, bars, figures
from tests.support.fakes import make_keyring
from tests.support.real import RealClock, Valkey

QUIET = 0.2  # seconds between two single changes
WINDOW = 0.1  # seconds, for the busiest moment of a reconnect
CONFIRMED = 10  # changes that are waited for


class Fleet:
    """The processes with the sidecars."""

    def __init__(self, url: str, links: int, processes: int) -> None:
        self._url = url
        self._counts = [links // processes] * processes

    async def __aenter__(self) -> Self:
        pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
        command = [sys.executable, "-m", "tests.bench.many_sidecars", self._url]
        self._started = [
            await asyncio.create_subprocess_exec(*command, str(count), **pipes, limit=1 << 28)
            for count in self._counts
        ]
        return self

    async def __aexit__(self, *_exc: object) -> None:
        for process in self._started:
            process.kill()
            await process.wait()

    async def ask(self, command: str) -> list[Any]:
        """Return the answer of each process."""
        for process in self._started:
            assert process.stdin is not None
            process.stdin.write(f"{command}\n".encode())
        answers = []
        for process in self._started:
            assert process.stdout is not None
            line = await process.stdout.readline()
            if not line:
                raise SystemExit("a process with sidecars ended")
            answers.append(json.loads(line))
        return answers


class Usage:
    """Processor time of the store's main thread and of the sidecars, between two moments.

    A heartbeat is counted by its ROLE.
    """

    def __init__(self, client: Redis, fleet: Fleet) -> None:
        self._client = client
        self._fleet = fleet

    async def begin(self) -> None:
        """Begin to measure."""
        self._began, self._before = time.monotonic(), await self._read()

    async def end(self) -> dict[str, float]:
        """Return seconds of processor time, numbers of commands and heartbeats, and the time."""
        after, elapsed = await self._read(), time.monotonic() - self._began
        names = ("store_seconds", "sidecars_seconds", "commands", "heartbeats")
        found = {name: b - a for name, a, b in zip(names, self._before, after, strict=True)}
        return {name: round(value, 3) for name, value in found.items()} | {
            "seconds": round(elapsed, 1)
        }

    async def _read(self) -> tuple[float, ...]:
        found = await self._client.info("cpu", "stats", "commandstats")
        main = found["used_cpu_sys_main_thread"] + found["used_cpu_user_main_thread"]
        ours = sum(await self._fleet.ask("seconds"))
        beats = found["cmdstat_role"]["calls"]
        return main, ours, found["total_commands_processed"], beats


class Changes:
    """Issues keys, and collects when the sidecars applied them."""

    def __init__(self, client: Redis, fleet: Fleet) -> None:
        self._client = client
        self._fleet = fleet
        self._made = 0

    async def make(self, count: int, pause: float) -> dict[str, Any]:
        """Issue `count` keys, one each `pause` seconds. Return the times until all applied them."""
        script, made = await self._client.script_load(APPLY_CHANGE), {}
        began = time.monotonic()
        for number in range(count):
            kid, at = await self._issue(script)
            made[kid] = at
            await asyncio.sleep(max(0.0, began + (number + 1) * pause - time.monotonic()))
        rate = count / (time.monotonic() - began)
        seq = await self._client.get("authz:{0}:seq")
        await self._fleet.ask(f"reach {seq}")
        told = await self._fleet.ask("applied")
        times = {kid: [at for seen in told for at in seen[kid]] for kid in made}
        each = [at - made[kid] for kid, found in times.items() for at in found]
        last = [max(found) - made[kid] for kid, found in times.items()]
        times = {"each_ms": spread(each), "last_ms": spread(last)}
        return {"changes": count, "changes_a_second": round(rate, 1)} | times

    async def confirm(self, count: int) -> dict[str, float]:
        """Return how long after a change the entries of all sidecars name it."""
        script, registry = (
            await self._client.script_load(APPLY_CHANGE),
            StoredSidecars(self._client),
        )
        waits = []
        for _ in range(count):
            await asyncio.sleep(1)
            _, at = await self._issue(script)
            while True:
                seq, heard = await registry.find()
                if all((one.sidecar.applied or 0) >= seq for one in heard):
                    break
            waits.append(time.time() - at)
        await self._fleet.ask("applied")
        return spread(waits)

    async def _issue(self, script: str) -> tuple[str, float]:
        """Return the kid of a new key, and when the store began with it, by its clock."""
        self._made += 1
        spec = KeySpec(client_id="bench", env="live", life_ms=None)
        author = Author(f"change-{self._made}", "bench")
        change = issue(spec, make_keyring().mint("live"), author, RealClock().wall_ms())
        keys, arguments = script_input(change)
        transaction = self._client.pipeline(transaction=True)
        transaction.time()
        transaction.evalsha(script, len(keys), *keys, *arguments)
        (seconds, micros), _ = await transaction.execute()
        return change.record.kid, seconds + micros / 1e6


async def reconnect(client: Redis, fleet: Fleet) -> dict[str, float]:
    """Close all links at once. Return the seconds until all are trusted, and the busiest moment."""
    await fleet.ask("watch")
    before = (await client.info("stats"))["total_connections_received"]
    began = time.time()
    await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    told = await fleet.ask("connected")
    made = sorted(at - began for one in told for at in one["made"])
    after = (await client.info("stats"))["total_connections_received"]
    return {
        "seconds_until_half_trusted": round(
            statistics.median(at - began for one in told for at in one["trusted"]), 3
        ),
        "seconds_until_all_trusted": round(max(max(one["trusted"]) for one in told) - began, 3),
        "most_links_in_100_ms": busiest(made),
        "connections": after - before,
    }


def busiest(made: list[float]) -> int:
    """Return the most of these times, which are sorted, that lie within WINDOW seconds."""
    most = start = 0
    for end, at in enumerate(made):
        while at - made[start] > WINDOW:
            start += 1
        most = max(most, end - start + 1)
    return most


def spread(seconds: list[float]) -> dict[str, float]:
    """Return p50, p99 and the maximum, in milliseconds."""
    cuts = statistics.quantiles(seconds, n=100)
    found = {"p50": cuts[49], "p99": cuts[98], "max": max(seconds)}
    return {name: round(value * 1000, 2) for name, value in found.items()}


async def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Run all stages."""
    with Valkey() as valkey:
        client = valkey.endpoint.client(timeout=60)
        await StoredKeys(client).initialise(make_keyring().fingerprints)
        await functions.load(client)
        async with Fleet(valkey.url, given.links, given.processes) as fleet:
            await fleet.ask("ready")
            usage, changes = Usage(client, fleet), Changes(client, fleet)
            found: dict[str, Any] = {"links": given.links, "processes": given.processes}

            async def stage(name: str, work: Any) -> None:
                await asyncio.sleep(2)
                await usage.begin()
                done = await work
                found[name] = {**(done or {}), **await usage.end()}

            await stage("idle", asyncio.sleep(given.seconds))
            await stage("single changes", changes.make(given.changes, QUIET))
            count = round(SUSTAINED * given.seconds)
            await stage("sustained changes", changes.make(count, 1 / SUSTAINED))
            found["confirmed_by_all_ms"] = await changes.confirm(CONFIRMED)
            found["reconnect"] = await reconnect(client, fleet)
            await fleet.ask("open")
            await stage("leases", _spend(fleet, given.seconds))
        await client.aclose()
    return found | {"machine": machine()}


async def _spend(fleet: Fleet, seconds: float) -> dict[str, Any]:
    waits = [wait for one in await fleet.ask(f"spend {seconds}") for wait in one]
    return {"wait_ms": spread(waits), "questions": len(waits)}


def main() -> None:
    """Measure, print, and say whether the bars hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--links", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--changes", type=int, default=100, help="single changes")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each other stage")
    offer_record(parser)
    given = parser.parse_args()
    found = uvloop.run(measure(given))
    if given.record:
        record(figures(found))
    judged = bars(found)
    print(json.dumps({**found, "figures": figures(found), "bars": judged}, indent=1))
    raise SystemExit(0 if all(one["holds"] for one in judged.values()) else 1)


if __name__ == "__main__":
    main()
