"""A bulk update while a sidecar stands still: how soon after it wakes has it applied everything?

    python -m tests.bench.burst [--changes 50000] [--pause 2] [--json]

A real sidecar process is stopped (SIGSTOP). Meanwhile keys are updated, by the script that makes
every change, so many at a time as the store takes. Then it goes on, and what counts is when it is
trusted again with the last of the changes applied, and whether it had to forget everything. Twice:
with a store that keeps the notices for it, and with one that gives up on the slow subscriber, so
that they are read from the log.
"""

import argparse
import asyncio
import json
import os
import signal
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvloop
from redis.asyncio import Redis

from authz.core.changes import Author, KeyChange, update
from authz.core.new_keys import KeySpec, issue
from authz.storage import schema
from authz.storage.change_script import APPLY_CHANGE, script_input
from tests.bench.figures import machine, offer_record, record, tell
from tests.bench.outage import initialise, running, settings_file
from tests.support.fakes import NOW, make_keyring
from tests.support.real import Valkey, eventually

BATCH = 500
GIVES_UP = ("--client-output-buffer-limit", "pubsub 256kb 0 0")


def changes(count: int) -> Iterator[KeyChange]:
    """A tenth of them issue a key, the others update one of those."""
    keyring, spec = make_keyring(), KeySpec(client_id="bench", env="live", life_ms=None)
    keys = [keyring.mint("live") for _ in range(count // 10)]
    records = []
    for number, minted in enumerate(keys):
        change = issue(spec, minted, Author(f"issue-{number}", "bench"), NOW)
        records.append(change.record)
        yield change
    versions = list(range(1, len(keys) + 1))
    for number in range(len(keys), count):
        which = number % len(keys)
        author, name = Author(f"update-{number}", "bench"), {"name": f"name {number}"}
        found = update(records[which], name, author, NOW)
        assert isinstance(found, KeyChange)
        yield KeyChange(found.id, versions[which], found.record, found.event)
        versions[which] = number + 1


async def bulk(client: Redis, made: list[KeyChange]) -> None:
    """All of them, in as few round trips as is usual."""
    script = await client.script_load(APPLY_CHANGE)
    for begin in range(0, len(made), BATCH):
        pipeline = client.pipeline(transaction=False)
        for change in made[begin : begin + BATCH]:
            keys, arguments = script_input(change)
            pipeline.evalsha(script, len(keys), *keys, *arguments)
        assert all(outcome == "applied" for outcome, _ in await pipeline.execute())


async def caught_up(operations: str, seq: int) -> dict[str, Any] | None:
    """Return the sidecar's report on its link, once it is trusted and has applied this change."""

    def ask() -> dict[str, Any]:
        with urllib.request.urlopen(f"http://{operations}/readyz", timeout=5) as answer:
            return json.load(answer)["components"]["store"]

    try:
        store = await asyncio.to_thread(ask)
    except OSError:  # not ready, or not yet there
        return None
    return store if store["trusted"] and store["seq"] == seq else None


async def measure(count: int, pause: float, *arguments: str) -> dict[str, Any]:
    """One pause."""
    made = list(changes(count))
    with Valkey(*arguments) as valkey, tempfile.TemporaryDirectory() as directory:
        file, _, operations = settings_file(Path(directory), valkey)
        client = valkey.endpoint.client()
        await initialise(file)
        with running(file) as process:
            before = await eventually(lambda: caught_up(operations, 0))
            os.kill(process.pid, signal.SIGSTOP)
            began = time.monotonic()
            await bulk(client, made)
            took = time.monotonic() - began
            await asyncio.sleep(max(0.0, pause - took))
            paused = time.monotonic() - began
            os.kill(process.pid, signal.SIGCONT)
            woke = time.monotonic()
            after = await eventually(lambda: caught_up(operations, count))
            converged = time.monotonic() - woke
        dropped = valkey.admin.info("stats")["client_output_buffer_limit_disconnections"]
        await client.aclose()
    return {
        "burst_seconds": round(took, 2),
        "paused_seconds": round(paused, 2),
        "subscribers_dropped": dropped,
        "converged_seconds": round(converged, 3),
        "flushes": int(after["flush"] != before["flush"]),
    }


async def both(count: int, pause: float) -> dict[str, Any]:
    """The two ways."""
    assert count < schema.LOG_LENGTH
    return {
        "changes": count,
        "kept_by_the_store": await measure(count, pause),
        "read_from_the_log": await measure(count, pause, *GIVES_UP),
        "machine": machine(),
    }


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--changes", type=int, default=50_000)
    parser.add_argument("--pause", type=float, default=2.0)
    parser.add_argument("--json", action="store_true")
    offer_record(parser)
    given = parser.parse_args()
    found = uvloop.run(both(given.changes, given.pause))
    tell(found, as_json=given.json)
    if given.record:
        record({"burst.recovery": found["kept_by_the_store"]["converged_seconds"]})


if __name__ == "__main__":
    main()
