"""The time and memory of commands that find or change many keys, each in a process of its own.

    python -m tests.bench.selected [KEYS]

Fills a Valkey of its own with KEYS keys (100,000), lists those with 69 in their name, and gives
another plan to the 10,000 keys of one client.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import redis.asyncio

from authz.storage import encoding
from tests.bench.figures import machine, offer_record, record
from tests.bench.listing import BATCH
from tests.support.fakes import NOW, make_record
from tests.support.real import Valkey
from tests.support.storage import stored

KEYS = 100_000
CHANGED = 10_000
ROUNDS = 5  # of a list, of which the fastest counts: others may use the machine
AUTHZ = (sys.executable, "-m", "authz.cli.main")
SETTINGS = "plans:\n  pro: [100/s]\n"


async def fill(client: redis.asyncio.Redis, count: int) -> None:
    """Write records and indexes as changes leave them. The first CHANGED are one client's."""
    for start in range(0, count, BATCH):
        async with client.pipeline(transaction=False) as pipeline:
            for number in range(start, min(start + BATCH, count)):
                owner = "acme-web" if number < CHANGED else f"client-{number % 1000}"
                made = make_record(
                    kid=f"{number:016}",
                    version=number + 1,
                    client_id=owner,
                    name=f"key {number}",
                    created_at=NOW + number // 10,
                )
                fields = {"version": str(made.version), **encoding.encode(made)}
                pipeline.hset(stored.key(made.kid), mapping=fields)
                pipeline.zadd(stored.KEYS, {made.kid: made.created_at})
                pipeline.zadd(stored.client(made.client_id), {made.kid: made.created_at})
            await pipeline.execute()
    await client.set(stored.SEQ, count)


def timed(directory: Path, *arguments: str) -> tuple[str, float, float]:
    """Run a command and print its time, its processor time and its peak memory.

    Return its output, the seconds, and the memory in MiB. Raises SystemExit if it fails.
    """
    began, called = time.perf_counter(), " ".join(arguments)
    with subprocess.Popen([*AUTHZ, *arguments], cwd=directory, stdout=subprocess.PIPE) as process:
        out = process.stdout.read().decode() if process.stdout else ""
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds, peak = time.perf_counter() - began, used.ru_maxrss / 1024
    if process.returncode:
        raise SystemExit(f"authz {called}: exit code {process.returncode}")
    work = used.ru_utime + used.ru_stime
    print(f"{seconds:6.2f} s, {work:5.2f} s of processor, {peak:4.0f} MiB: authz {called}")
    return out, seconds, peak


def main(count: int) -> dict[str, float]:
    """Fill a store and measure. Return the published figures."""
    with Valkey() as valkey, tempfile.TemporaryDirectory() as where:
        directory = Path(where)
        (directory / "authz.yaml").write_text(SETTINGS)
        os.environ |= {"AUTHZ_REDIS__URL": valkey.url, "AUTHZ_CONFIG": "authz.yaml"}
        os.environ["PYTHONPYCACHEPREFIX"] = str(directory / "compiled")  # as in an installation
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        timed(directory, "init")
        asyncio.run(_filled(valkey, count))
        print(f"{count} keys")
        timed(directory, "--version")
        timed(directory, "keys", "list", "--limit", "1")
        named = ("keys", "list", "--name", "*69*", "--limit", "1000")
        listed = min(timed(directory, *named)[1] for _ in range(ROUNDS))
        timed(directory, "keys", "list", "--name", "no such key")
        timed(directory, "keys", "list", "--status", "revoked")
        out, updated, peak = timed(
            directory, "keys", "update", "--client", "acme-web", "--plan", "pro", "--yes"
        )
        print(out.strip())
        print(machine())
    return {"selected.list": listed, "selected.update": updated, "selected.memory": peak}


async def _filled(valkey: Valkey, count: int) -> None:
    async with valkey.endpoint.client(timeout=60) as client:
        await fill(client, count)
        await client.hdel(stored.META, "sealed")  # these records have no seals


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("keys", type=int, nargs="?", default=KEYS)
    offer_record(parser)
    given = parser.parse_args()
    measured = main(given.keys)
    if given.record:
        record(measured)
