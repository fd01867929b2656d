"""Measures the revocation of many keys on a full store: `python -m tests.bench.revoke_full`.

Real sidecars and a real store, whose `maxmemory` is then 5 % below the memory in use. The real
command revokes all keys and waits until every sidecar has confirmed.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from authz.settings import model
from tests.bench import measured
from tests.bench.figures import machine
from tests.bench.import_keys import AUTHZ, write
from tests.bench.processor_time import child_seconds
from tests.support.real import Valkey

MOST_SECONDS = 2.0
OVER = 1.05  # memory in use, in times of maxmemory
SIDECARS = 2
SAID = ("--yes", "--wait", "--reason", "key_compromise", "--json")


def fill(store: Valkey) -> None:
    """Set maxmemory below the memory in use."""
    store.admin.config_set("maxmemory-policy", "noeviction")
    store.admin.config_set("maxmemory", int(store.admin.info("memory")["used_memory"] / OVER))


def run(count: int) -> dict[str, Any]:
    """Import keys, fill the store, revoke them. Return seconds and the counts of the command."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="authz-")))
        store = stack.enter_context(Valkey())
        file, lines = measured.settings(directory, store), directory / "keys"
        asyncio.run(measured.issue(model.load(file)))
        write(lines, count)
        command = [*AUTHZ, "--config", str(file), "keys"]
        with lines.open("rb") as keys:
            subprocess.run([*command, "import"], stdin=keys, check=True, capture_output=True)
        for _ in range(SIDECARS):
            stack.enter_context(measured.sidecar(file, "fast"))
        fill(store)
        before, began = child_seconds(), time.monotonic()
        done = subprocess.run(
            [*command, "revoke", "--metadata", "moved=from the old gateway", *SAID],
            check=False, capture_output=True, text=True, env=os.environ,
        )  # fmt: skip
        seconds, taken = time.monotonic() - began, child_seconds() - before
    found = json.loads(done.stdout)
    return {
        "seconds": round(seconds, 2),
        "processor_seconds": round(taken, 2),
        "revoked": len(found["revoked"]),
        "confirmed": found["confirmation"]["complete"],
        "sidecars": found["confirmation"]["confirmed"],
    }


def main() -> None:
    """Measure, and exit with 1 if a key was not revoked and confirmed in time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=1000)
    options = parser.parse_args()
    found = run(options.keys)
    print(json.dumps(found))
    print(machine())
    is_whole = found["confirmed"] and found["revoked"] == options.keys
    sys.exit(not is_whole or found["seconds"] > MOST_SECONDS)


if __name__ == "__main__":
    main()
