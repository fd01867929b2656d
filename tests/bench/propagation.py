"""How long from a change until it is applied, with many sidecars subscribed on one machine?

    python -m tests.bench.propagation [--sidecars 20] [--changes 500] [--json]

Every sidecar is a process of its own, on the product's loop. Measured from the moment at which the
change was asked for, so that the store's own work is in it, and from its confirmation: what arrives
before that counts as 0. All the processes share this machine, so the last of them waits for the
others; with a machine each it would not.
"""

import argparse
import asyncio
import contextlib
import json
import platform
import statistics
import sys
import time

import uvloop

from authz.core.changes import KeySpec
from authz.flows.lifecycle import Lifecycle
from authz.storage.endpoint import Endpoint
from authz.storage.feed import ChangeFeed
from authz.storage.keys import StoredKeys
from tests.fakes import RecordingProbe, make_keyring
from tests.real import RealClock, Valkey

PAUSE = 0.01  # seconds between two changes
LEASE = 1.0


def now() -> float:
    """One clock for all processes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Applied(dict):
    """A ChangeSink that notes when it was told of each kid."""

    def forget(self, kid: str, *, revoked: bool) -> None:
        self[kid] = now()

    def flush(self, *, foreign: bool = False) -> None:
        """Nothing is kept."""

    def trust(self, until: float) -> None:
        if until and not self:
            self[""] = until
            print("ready", flush=True)


async def follow(url: str) -> None:
    """A sidecar's feed, until stdin ends; then what it was told, as JSON."""
    applied, fingerprints = Applied(), make_keyring().fingerprints
    feed = ChangeFeed(
        Endpoint.parse(url), RealClock(), RecordingProbe(), lease=LEASE, fingerprints=fingerprints
    )
    task = asyncio.create_task(feed.run(applied))
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    print(json.dumps(applied))


async def measure(sidecars: int, changes: int) -> dict:
    """Start them, change, collect."""
    with Valkey() as valkey:
        client = valkey.endpoint.client()
        store = StoredKeys(client)
        await store.initialise(make_keyring().fingerprints)
        command = [sys.executable, "-m", "tests.bench.propagation", "--follow", valkey.url]
        pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
        followers = [
            await asyncio.create_subprocess_exec(*command, **pipes, limit=1 << 26)
            for _ in range(sidecars)
        ]
        for follower in followers:
            assert await follower.stdout.readline() == b"ready\n"
        await asyncio.sleep(1)
        made = await _change(Lifecycle(store, make_keyring(), RealClock()), changes)
        await asyncio.sleep(0.5)
        told = [json.loads((await follower.communicate(b""))[0]) for follower in followers]
        await client.aclose()
    return {
        "sidecars": sidecars,
        "changes": changes,
        "asked_to_applied_ms": _spread([seen[k] - a for seen in told for k, (a, _) in made]),
        "confirmed_to_applied_ms": _spread(
            [max(0.0, seen[k] - c) for seen in told for k, (_, c) in made]
        ),
        "confirmed_to_applied_by_the_last_ms": _spread(
            [max(0.0, *(seen[k] - c for seen in told)) for k, (_, c) in made]
        ),
        "machine": f"{platform.machine()}, {platform.python_version()}",
    }


async def _change(lifecycle: Lifecycle, changes: int) -> list[tuple[str, tuple[float, float]]]:
    spec = KeySpec(client_id="bench", env="live", life_ms=None)
    made = []
    for _ in range(changes):
        asked = now()
        issued = await lifecycle.issue(spec, lifecycle.author("bench"))
        made.append((issued.record.kid, (asked, now())))
        await asyncio.sleep(PAUSE)
    return made


def _spread(seconds: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=100)
    spread = {"p50": cuts[49], "p90": cuts[89], "p99": cuts[98], "max": max(seconds)}
    return {name: round(value * 1000, 3) for name, value in spread.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--sidecars", type=int, default=20)
    parser.add_argument("--changes", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--follow", metavar="URL", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.follow:
        uvloop.run(follow(given.follow))
        return
    found = uvloop.run(measure(given.sidecars, given.changes))
    print(json.dumps(found) if given.json else _as_text(found))


def _as_text(found: dict) -> str:
    lines = [f"{found['changes']} changes, {found['sidecars']} sidecars, {found['machine']}"]
    for name, values in found.items():
        if name.endswith("_ms"):
            spread = ", ".join(f"{part} {value}" for part, value in values.items())
            lines.append(f"{name.removesuffix('_ms').replace('_', ' ')}, ms: {spread}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
