"""How long a move to eight partitions takes, as a user runs it: `python -m tests.bench.reshard`.

A real Valkey and the real command. The keys are imported, so that each has an alias, too. With
`--used N` so many of them have usage. Nothing else uses the store meanwhile.
"""

import argparse
import asyncio
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.figures import machine, offer_record, record
from tests.bench.import_keys import AUTHZ, timed, write
from tests.support.real import Valkey
from tests.support.usage import line
from tests.support.usage_counting import count_entries

COUNT = 8
BATCH = 2000  # entries of usage in one commit
LONGEST = 10.0  # seconds for which 100,000 keys may be frozen


def run(keys: int, used: int) -> dict[str, Any]:
    """Import keys, use some of them, and move the store. Return what the command says of it."""
    with Valkey() as valkey, tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        environment = os.environ | {"AUTHZ_REDIS__URL": valkey.url}

        def command(*arguments: str, partitions: int = 1) -> str:
            settings = {"AUTHZ_REDIS__PARTITIONS": str(partitions)}
            done = subprocess.run(
                [*AUTHZ, *arguments],
                cwd=directory,
                env=environment | settings,
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            return done.stdout

        command("init")
        write(directory / "keys.jsonl", keys)
        timed(directory / "keys.jsonl", directory, valkey.url)
        kids = [
            key.removeprefix("authz:{0}:key:")
            for key in valkey.admin.scan_iter("authz:{0}:key:*", 1000)
        ]
        asyncio.run(use(valkey, kids[:used]))
        moved = json.loads(command("init", "--reshard", "--yes", "--json", partitions=COUNT))
    if moved["keys"] != keys:
        raise SystemExit(f"{moved['keys']} of {keys} keys were moved")
    return {
        "keys": keys,
        "keys with usage": used,
        "keys that their kids do not lead to": moved["moved"],
        "copied names": moved["names"],
        "copy seconds": round(moved["copy_seconds"], 1),
        "frozen seconds": round(moved["frozen_seconds"], 1),
        "machine": machine(),
    }


async def use(valkey: Valkey, kids: list[str]) -> None:
    """Count some requests of these keys."""
    now = time.time_ns() // 1_000_000
    for start in range(0, len(kids), BATCH):
        lines = [line(kid=kid, started=now) for kid in kids[start : start + BATCH]]
        await count_entries(valkey.endpoint, lines, now)


def main() -> None:
    """Measure, and say whether the store was frozen for a short time."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--used", type=int, default=0, help="so many of them have usage")
    offer_record(parser)
    given = parser.parse_args()
    found = run(given.keys, given.used)
    if given.record:
        record({f"reshard.{part}": found[f"{part} seconds"] for part in ("copy", "frozen")})
    good = found["frozen seconds"] <= LONGEST * max(1, given.keys / 100_000)
    if given.json:
        print(json.dumps(found | {"within_limits": good}))
    else:
        for name, value in found.items():
            print(f"{name}: {value}")
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
