"""How long from a change until it is applied, with many sidecars subscribed on one machine?

    python -m tests.bench.propagation [--sidecars 20] [--processes 20] [--changes 500]

Every sidecar is a sidecar's whole data path: link, feed, cache, and its word in the store after
each change; by default in a process of its own. Measured from the moment at which the store begins
with the change (its own clock, asked for in the same transaction), and from the moment at which
whoever changed the key has its answer, where what was applied before counts as 0. All the processes
share this machine, so the last of them waits for the others; with a machine each it would not, and
a few processes with several sidecars each come closer to that.
"""

import argparse
import asyncio
import gc
import json
import os
import statistics
import sys
import time

import uvloop
from redis.asyncio import Redis

from authz.core.changes import Author
from authz.core.new_keys import KeySpec, issue
from authz.core.ports import KeySource
from authz.flows.keycache import KeyCache
from authz.storage.change_script import APPLY_CHANGE, script_input
from authz.storage.endpoint import Endpoint
from authz.storage.feed import ChangeFeed
from authz.storage.keys import StoredKeys
from authz.storage.linked_keys import LinkedKeys
from authz.storage.registration import Identity, Registration
from tests.bench.figures import machine, offer_record, record
from tests.support.fakes import RecordingProbe, make_keyring
from tests.support.real import RealClock, Valkey, eventually

PAUSE = 0.01  # seconds between two changes
LEASE = 1.0


class Applied(KeyCache):
    """The cache, which also notes when it had applied a change of each kid."""

    def __init__(self, source: KeySource) -> None:
        super().__init__(
            source,
            RealClock(),
            RecordingProbe(),
            ttl=60,
            negative_ttl=5,
            max_entries=100_000,
            max_negatives=1000,
            deadline=1,
        )
        self.at: dict[str, float] = {}

    def forget(self, kid: str, *, revoked: bool) -> None:
        """Implement ChangeSink.forget."""
        super().forget(kid, revoked=revoked)
        self.at[kid] = time.time()


async def follow(url: str, count: int) -> None:
    """So many sidecars' data paths, until stdin ends; then what each had applied when, as JSON."""
    clock, probe, fingerprints = RealClock(), RecordingProbe(), make_keyring().fingerprints
    caches, tasks = [], []
    for number in range(count):
        feed = ChangeFeed(Endpoint.parse(url), clock, probe, lease=LEASE, fingerprints=fingerprints)
        cache = Applied(LinkedKeys(feed, probe))
        identity = Identity(
            instance=f"bench-{os.getpid()}-{number}",
            version="bench",
            address="",
            started_at=clock.wall_ms(),
            lease_ms=round(LEASE * 1000),
            grace_ms=0,
        )
        sidecar = Registration(cache, feed, clock, identity, entries=cache.__len__)
        tasks.append(asyncio.create_task(feed.run(sidecar, sidecar.announce)))
        caches.append(cache)
    await eventually(lambda: all(cache.is_trusted for cache in caches))
    # A full collection walks every module that was imported: 30 ms, in all of these processes at
    # the same moment, for they are all alike and do the same. On two cores that is 300 ms.
    gc.collect()
    gc.freeze()
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(json.dumps([cache.at for cache in caches]))


async def measure(sidecars: int, processes: int, changes: int) -> dict:
    """Start them, change, collect."""
    with Valkey() as valkey:
        client = valkey.endpoint.client()
        await StoredKeys(client).initialise(make_keyring().fingerprints)
        command = [sys.executable, "-m", "tests.bench.propagation", "--follow", valkey.url]
        command += ["--sidecars", str(sidecars // processes)]
        pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
        followers = [
            await asyncio.create_subprocess_exec(*command, **pipes, limit=1 << 26)
            for _ in range(processes)
        ]
        for follower in followers:
            assert await follower.stdout.readline() == b"ready\n"
        await asyncio.sleep(1)
        made = await _change(client, changes)
        await asyncio.sleep(0.5)
        outputs = [(await follower.communicate(b""))[0] for follower in followers]
        told = [seen for output in outputs for seen in json.loads(output)]
        await client.aclose()
    return {
        "sidecars": len(told),
        "processes": processes,
        "changes": changes,
        "taken_to_applied_ms": _spread([seen[kid] - t for seen in told for kid, t, _ in made]),
        "taken_to_applied_by_the_last_ms": _spread(
            [max(seen[kid] for seen in told) - t for kid, t, _ in made]
        ),
        "confirmed_to_applied_ms": _spread(
            [max(0.0, seen[kid] - c) for seen in told for kid, _, c in made]
        ),
        "machine": machine(),
    }


async def _change(client: Redis, count: int) -> list[tuple[str, float, float]]:
    """Issue so many keys: kid, when the store began with it, when its answer was here."""
    spec = KeySpec(client_id="bench", env="live", life_ms=None)
    script, made = await client.script_load(APPLY_CHANGE), []
    for number in range(count):
        author = Author(f"change-{number}", "bench")
        change = issue(spec, make_keyring().mint("live"), author, RealClock().wall_ms())
        keys, arguments = script_input(change)
        transaction = client.pipeline(transaction=True)
        transaction.time()
        transaction.evalsha(script, len(keys), *keys, *arguments)
        (seconds, micros), _ = await transaction.execute()
        made.append((change.record.kid, seconds + micros / 1e6, time.time()))
        await asyncio.sleep(PAUSE)
    return made


def _spread(seconds: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=100)
    spread = {"p50": cuts[49], "p90": cuts[89], "p99": cuts[98], "max": max(seconds)}
    return {name: round(value * 1000, 3) for name, value in spread.items()}


def published_of(found: dict) -> dict[str, float]:
    """Return the published figures of a run in one process for each sidecar, or in fewer."""
    each, last = found["taken_to_applied_ms"], found["taken_to_applied_by_the_last_ms"]
    if found["processes"] == found["sidecars"]:
        return {f"propagation.crowded.{part}": each[part] for part in ("p50", "p99")}
    both = {"propagation": each, "propagation.last": last}
    return {f"{name}.{part}": both[name][part] for name in both for part in ("p50", "p99")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--sidecars", type=int, default=20)
    parser.add_argument("--processes", type=int, default=20)
    parser.add_argument("--changes", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--follow", metavar="URL", help=argparse.SUPPRESS)
    offer_record(parser)
    given = parser.parse_args()
    if given.follow:
        uvloop.run(follow(given.follow, given.sidecars))
        return
    found = uvloop.run(measure(given.sidecars, given.processes, given.changes))
    if given.record:
        record(published_of(found))
    print(json.dumps(found) if given.json else _as_text(found))


def _as_text(found: dict) -> str:
    several = f"{found['sidecars']} sidecars in {found['processes']} processes"
    lines = [f"{found['changes']} changes, {several}, {found['machine']}"]
    for name, values in found.items():
        if name.endswith("_ms"):
            spread = ", ".join(f"{part} {value}" for part, value in values.items())
            lines.append(f"{name.removesuffix('_ms').replace('_', ' ')}, ms: {spread}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
