"""Measures first uses of imported keys beside strangers' texts: `python -m tests.bench.strangers`.

A real sidecar and a real store with imported keys. Strangers send texts that could be imported
keys, each another, from one address; beside them each imported key is used for the first time. No
answer may be 503. `--without` runs the sidecar without the index of imported keys. On a machine
that is busy with other work, a longer AUTHZ_CHECK__DEADLINE keeps slow lookups apart from refused
ones.
"""

import argparse
import asyncio
import json
import os
import secrets
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from authz.core.keys.digest_index import ENTRY_BYTES, DigestIndex
from authz.settings import model
from tests.bench import load, measured
from tests.bench.figures import machine, offer_record, record
from tests.bench.flood import Keys
from tests.bench.import_keys import AUTHZ
from tests.bench.processor_time import processor_seconds
from tests.support.real import Valkey, eventually, free_port

MOST_MEGABYTES = 20.0  # of an index of a million digests
MILLION = 1_000_000
STRANGERS = 50_000  # different texts, more than absences are cached


def texts(count: int) -> list[str]:
    """Return so many texts that look like keys of another system."""
    return [f"sk-{secrets.token_hex(16)}" for _ in range(count)]


def import_keys(file: Path, keys: list[str]) -> None:
    """Import keys as a user does."""
    lines = "".join(json.dumps({"key": key, "client": "acme"}) + "\n" for key in keys)
    command = [*AUTHZ, "--config", str(file), "keys", "import", "--json"]
    subprocess.run(command, input=lines, text=True, check=True, stdout=subprocess.DEVNULL)


def metrics(ops: int) -> dict[tuple[str, str], float]:
    """Return the metrics by name and by reason or result."""
    with urlopen(f"http://127.0.0.1:{ops}/metrics", timeout=5) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return {
        (sample.name, sample.labels.get("reason") or sample.labels.get("result", "")): sample.value
        for family in families
        for sample in family.samples
    }


async def both(server: measured.Server, keys: list[str], rate: float, seconds: float) -> int:
    """Send strangers' texts at this rate, and each key once in so many seconds.

    Return the number of calls without an answer.
    """
    beside = load.pace(
        server.address, Keys(texts(STRANGERS)), connections=4, rate=rate, seconds=seconds
    )
    first = load.pace(
        server.address, Keys(keys), connections=4, rate=len(keys) / seconds, seconds=seconds
    )
    return sum(tally.failed for tally in await asyncio.gather(beside, first))


def run(count: int, rate: float, seconds: float, *, has_index: bool) -> dict[str, float]:
    """Return the counts of answers."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="authz-")))
        file = measured.settings(directory, stack.enter_context(Valkey()))
        asyncio.run(measured.issue(model.load(file)))
        keys, ops = texts(count), free_port()
        import_keys(file, keys)
        os.environ["AUTHZ_ABUSE__FAILURES_PER_MINUTE"] = "0"  # each stranger is looked up
        os.environ["AUTHZ_KEYS__IMPORTED_INDEX"] = str(MILLION if has_index else 0)
        server = stack.enter_context(measured.sidecar(file, "fast", ops))
        if has_index:
            asyncio.run(eventually(lambda: metrics(ops)["authz_alias_index", ""] == count))
        os.sched_setaffinity(0, measured.LOAD_CORE)
        before = processor_seconds(server.pid)
        unanswered = asyncio.run(both(server, keys, rate, seconds))
        taken = processor_seconds(server.pid) - before
        found = metrics(ops)
    denied = {reason: n for (name, reason), n in found.items() if name == "authz_checks_total"}
    lookups = {result: n for (name, result), n in found.items() if "alias_lookups" in name}
    return {
        "unanswered": unanswered,
        "processor_share": round(taken / seconds, 2),
        "unavailable": denied.get("unavailable", 0),
        "strangers": denied.get("unknown_key", 0),
        "first_uses": lookups["miss"],
        "limited": lookups["limited"],
        "timeouts": found["authz_key_lookup_failures_total", "timeout"],
        "links_lost": found["authz_link_losses_total", ""],
    }


def pages() -> Iterator[str]:
    """Yield the entries of a million digests, in pages as a sidecar reads them."""
    for _ in range(0, MILLION, 2000):
        yield secrets.token_hex(ENTRY_BYTES * 2000)


def megabytes() -> float:
    """Return the memory of an index of a million digests."""
    index = DigestIndex()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    index = DigestIndex()
    for page in pages():
        index.add(page)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert index.count == MILLION
    return (after - before) / 1e6


def main() -> None:
    """Measure, and exit with 1 if an answer was 503 or the index is too large."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=10_000, help="imported, each used once")
    parser.add_argument("--rate", type=float, default=5000, help="strangers a second")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--without", action="store_true", help="the sidecar has no index")
    offer_record(parser)
    options = parser.parse_args()
    found = run(options.keys, options.rate, options.seconds, has_index=not options.without)
    found["megabytes"] = round(megabytes(), 1)
    print(json.dumps(found))
    print(machine())
    if options.record:
        record({"strangers.megabytes": found["megabytes"]})
    bad = found["unavailable"] or found["unanswered"] or found["megabytes"] > MOST_MEGABYTES
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
