"""Measures how soon a sidecar follows the owner of the slot: `python -m tests.bench.cluster`.

A cluster of three primaries with two replicas each, a cluster-node-timeout of 1.5 s, and a sidecar.
Of each event: how long the sidecar was without trust, and until when a change made after it was
applied.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from statistics import median

from authz.core.errors import Unavailable
from tests.bench.figures import offer_record, record
from tests.support.cluster import SLOT, Cluster
from tests.support.real import PAUSE, eventually
from tests.support.storage.sidecar import Admin, Sidecar, administration

LEASE = 1.0
RUNS = 5


async def fail_over(cluster: Cluster) -> None:
    """Promote a replica in good order."""
    await cluster.fail_over()


async def kill(cluster: Cluster) -> None:
    """Kill the owner."""
    await asyncio.to_thread(cluster.owner.kill)


async def move(cluster: Cluster) -> None:
    """Move the slot in one step."""
    target = cluster.others[0]
    cluster.owner.ask(
        *("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", SLOT, SLOT, "NODE", target.node_id)
    )
    await eventually(lambda: target.owns_slot)


EVENTS: dict[str, Callable[[Cluster], Awaitable[None]]] = {
    "failover": fail_over,
    "move": move,
    "kill": kill,
}


async def measure(event: Callable[[Cluster], Awaitable[None]]) -> tuple[float, float]:
    """Return the milliseconds without trust, and until a later change was applied."""
    async with (
        Cluster(replicas=2) as cluster,
        administration(cluster.endpoint) as admin,
        Sidecar(cluster.endpoint, lease=LEASE) as sidecar,
    ):
        await admin.issue()
        await sidecar.trusted()
        await asyncio.sleep(2 * LEASE)
        watching = asyncio.create_task(untrusted(sidecar))
        began = time.monotonic()
        await event(cluster)
        seq = await changed(admin)
        await eventually(lambda: sidecar.is_trusted and (sidecar.feed.seq or 0) >= seq)
        applied = time.monotonic() - began
        watching.cancel()
        return 1000 * await watching, 1000 * applied


async def untrusted(sidecar: Sidecar) -> float:
    """Return for how many seconds the sidecar was without trust, when cancelled."""
    total, last = 0.0, time.monotonic()
    try:
        while True:
            await asyncio.sleep(PAUSE)
            now = time.monotonic()
            total, last = total + (now - last) * (not sidecar.is_trusted), now
    except asyncio.CancelledError:
        return total


async def changed(admin: Admin) -> int:
    """Issue a key as soon as the store takes it; return its version."""
    while True:
        try:
            return (await admin.issue()).version
        except Unavailable:
            await asyncio.sleep(PAUSE)


async def run() -> dict[str, Sequence[float]]:
    """Return the times of each event, in milliseconds."""
    found: dict[str, Sequence[float]] = {}
    for name, event in EVENTS.items():
        times = [await measure(event) for _ in range(RUNS)]
        for kind, values in zip(("untrusted", "applied"), zip(*times, strict=True), strict=True):
            found[f"cluster.{name}.{kind}"] = values
    return found


def main() -> None:
    """Print the figures; with --record write them down."""
    parser = argparse.ArgumentParser(description=__doc__)
    offer_record(parser)
    given = parser.parse_args()
    found = asyncio.run(run())
    if given.record:
        record(found)
    print(json.dumps({name: round(median(values)) for name, values in found.items()}, indent=2))


if __name__ == "__main__":
    main()
