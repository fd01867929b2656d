"""The cost of seals: `python -m tests.bench.seals`.

Processor time to check the seal of a record, beside the time to decode it; to seal a change; the
bytes of a seal in the store; and the processor time of `authz reseal`.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from authz.core.seals import SEAL
from authz.storage import encoding
from authz.storage.change_script import SEALED_AHEAD
from tests.bench.figures import machine, offer_record, record
from tests.bench.memory import fill
from tests.bench.sidecar_memory import kid_of
from tests.support.fakes import make_keyring, make_record
from tests.support.real import Valkey
from tests.support.storage import stored

CALLS = 20_000
ROUNDS = 5
RECORDS = 2_000
AUTHZ = (sys.executable, "-m", "authz.cli.main")


def microseconds(step: Callable[[], object]) -> float:
    """Return the processor time of one call, the least of ROUNDS."""
    taken = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(CALLS):
            step()
        taken.append(time.process_time() - began)
    return round(min(taken) / CALLS * 1e6, 2)


def reseal(url: str, directory: Path, keys: int) -> float:
    """Return the seconds of processor time of `authz reseal` on so many keys."""
    environment = os.environ | {"AUTHZ_REDIS__URL": url}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [*AUTHZ, "reseal", "--json"],
        cwd=directory,
        env=environment,
        check=True,
        capture_output=True,
    )
    assert json.loads(done.stdout)["looked_at"] == keys
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1)


def store_bytes(valkey: Valkey, fields: dict[str, str]) -> float:
    """Return the bytes that a record takes in the store, the mean of RECORDS equal ones.

    Their hash tables differ, because each has a seed of its own.
    """
    found = 0
    for number in range(RECORDS):
        name = stored.key(kid_of(number))
        valkey.admin.hset(name, mapping=fields)
        found += int(valkey.admin.memory_usage(name, samples=0))
        valkey.admin.delete(name)
    return round(found / RECORDS)


def measure(given: int) -> dict[str, Any]:
    """Measure all of it."""
    ring = make_keyring()
    seals, made = ring.record_seals, make_record(scopes=frozenset({"models:generate"}))
    change_id = "0" * 32
    fields = encoding.encode(made) | {"version": "123456", "change_id": change_id}
    whole = fields | {SEAL: seals.seal(made.kid, fields)}
    found: dict[str, Any] = {
        "check_us": microseconds(lambda: seals.check(made.kid, whole)),
        "decode_us": microseconds(lambda: encoding.decode(made.kid, whole)),
        "change_us": microseconds(
            lambda: seals.candidates(made.kid, fields, 123456, SEALED_AHEAD[0])
        ),
    }
    with Valkey() as valkey, tempfile.TemporaryDirectory() as name:
        found["record_bytes"] = store_bytes(valkey, fields)
        found["bytes"] = store_bytes(valkey, whole) - found["record_bytes"]
        directory = Path(name)
        environment = os.environ | {"AUTHZ_REDIS__URL": valkey.url}
        subprocess.run([*AUTHZ, "init"], cwd=directory, env=environment, check=True)
        valkey.admin.hdel(stored.META, "sealed")
        fill(valkey.admin, given)
        valkey.admin.zadd(stored.KEYS, {kid_of(number): number for number in range(given)})
        valkey.admin.set(stored.SEQ, given)
        found["reseal_seconds"] = reseal(valkey.url, directory, given)
        found["again_seconds"] = reseal(valkey.url, directory, given)
    return found | {"machine": machine()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--keys", type=int, default=100_000)
    offer_record(parser)
    given = parser.parse_args()
    found = measure(given.keys)
    for name, value in found.items():
        print(f"{name:<16} {value}")
    if given.record:
        names = {
            "seals.check": "check_us",
            "seals.change": "change_us",
            "seals.bytes": "bytes",
            "seals.reseal": "reseal_seconds",
        }
        record({name: found[key] for name, key in names.items()})


if __name__ == "__main__":
    main()
