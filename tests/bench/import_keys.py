"""How long an import takes, as a user runs it: `python -m tests.bench.import_keys`.

A real Valkey, the real command, keys of distinct clients; then the same file once more, which is
what an import that goes on after an interruption does with what is there.
"""

import argparse
import hashlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.figures import machine, offer_record, record
from tests.support.real import Valkey

LIMIT = 20.0  # seconds for 100,000 keys by hash
AUTHZ = (sys.executable, "-m", "authz.cli.main")


def write(file: Path, count: int, *, hashed: bool = False) -> None:
    """As many lines as keys are wanted, with the keys or with their hashes."""
    with file.open("w") as lines:
        for number in range(count):
            key = f"sk-{secrets.token_urlsafe(24)}"
            given = {"sha256": hashlib.sha256(key.encode()).hexdigest()} if hashed else {"key": key}
            line = {
                **given,
                "client": f"client-{number % 1000}",
                "scope": ["models:read", "models:generate"],
                "metadata": {"moved": "from the old gateway"},
            }
            lines.write(json.dumps(line) + "\n")


def timed(file: Path, directory: Path, url: str) -> tuple[float, dict[str, Any]]:
    """Seconds, and what the command reports."""
    environment = os.environ | {"AUTHZ_REDIS__URL": url}
    began = time.monotonic()
    with file.open("rb") as lines:
        done = subprocess.run(
            [*AUTHZ, "keys", "import", "--json"],
            stdin=lines, stdout=subprocess.PIPE, cwd=directory, env=environment, check=True,
        )  # fmt: skip
    return time.monotonic() - began, json.loads(done.stdout)


def run(count: int) -> dict[str, Any]:
    """Import, and import again."""
    with Valkey() as valkey, tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        environment = os.environ | {"AUTHZ_REDIS__URL": valkey.url}
        subprocess.run(
            [*AUTHZ, "init"], cwd=directory, env=environment, check=True, stdout=subprocess.DEVNULL
        )
        file = directory / "keys.jsonl"
        write(file, count)
        first, report = timed(file, directory, valkey.url)
        again, repeated = timed(file, directory, valkey.url)
        memory = int(valkey.admin.info("memory")["used_memory"])
        write(file, count, hashed=True)
        by_hash, hashes = timed(file, directory, valkey.url)
    done = (report["imported"], repeated["already_there"], hashes["imported"])
    if done != (count,) * 3:
        raise SystemExit(f"not every key was imported once, but of {count}: {done}")
    return {
        "keys": count,
        "seconds": round(first, 1),
        "again": round(again, 1),
        "by_hash": round(by_hash, 1),
        "store_bytes_a_key": memory // count,
        "machine": machine(),
    }


def main() -> None:
    """Measure, and say whether it is within the limit."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--keys", type=int, default=100_000)
    offer_record(parser)
    given = parser.parse_args()
    found = run(given.keys)
    if given.record:
        record({"import.first": found["seconds"], "import.again": found["again"]})
        record({"import.by_hash": found["by_hash"]})
        record({"import.key": found["store_bytes_a_key"]})
    good = found["by_hash"] <= LIMIT * given.keys / 100_000
    if given.json:
        print(json.dumps(found | {"within_limits": good}))
    else:
        print(f"import of {found['keys']} keys: {found['seconds']} s, again {found['again']} s")
        print(f"by hash: {found['by_hash']} s, {found['keys'] / found['by_hash']:.0f} a second")
        print(f"store: {found['store_bytes_a_key']} bytes a key\n{found['machine']}")
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
