"""How long a backup and a restore take, as a user runs them: `python -m tests.bench.restore`.

A real Valkey and the real commands. The keys are imported, so that each has an alias, too.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.figures import machine
from tests.bench.import_keys import AUTHZ, timed, write
from tests.bench.processor_time import child_seconds
from tests.support.real import Valkey

LIMIT = 60.0  # seconds for 100,000 keys


def run(count: int) -> dict[str, Any]:
    """Import keys, back them up, lose them, and restore them."""
    with Valkey() as valkey, tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        environment = os.environ | {"AUTHZ_REDIS__URL": valkey.url}

        def command(*arguments: str) -> tuple[float, float]:
            """Run a command. Return its seconds, and its own seconds of processor time."""
            began, before = time.monotonic(), child_seconds()
            subprocess.run(
                [*AUTHZ, *arguments],
                cwd=directory,
                env=environment,
                check=True,
                stdout=subprocess.DEVNULL,
            )
            return time.monotonic() - began, child_seconds() - before

        command("init")
        write(directory / "keys.jsonl", count)
        timed(directory / "keys.jsonl", directory, valkey.url)
        backup = command("backup", "authz.backup")
        size = (directory / "authz.backup").stat().st_size
        valkey.admin.flushall()
        restore = command("restore", "authz.backup")
        found = int(valkey.admin.zcard("authz:{0}:keys"))
    if found != count:
        raise SystemExit(f"{found} of {count} keys were restored")
    return {
        "keys": count,
        "backup_seconds": round(backup[0], 1),
        "backup_processor_seconds": round(backup[1], 1),
        "restore_seconds": round(restore[0], 1),
        "restore_processor_seconds": round(restore[1], 1),
        "bytes_a_key": size // count,
        "machine": machine(),
    }


def main() -> None:
    """Measure, and say whether the restore is within the limit."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--keys", type=int, default=100_000)
    given = parser.parse_args()
    found = run(given.keys)
    good = found["restore_seconds"] <= LIMIT * given.keys / 100_000
    if given.json:
        print(json.dumps(found | {"within_limits": good}))
    else:
        for name, value in found.items():
            print(f"{name.replace('_', ' ')}: {value}")
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
