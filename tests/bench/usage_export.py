"""How fast usage is exported for billing: `python -m tests.bench.usage_export`.

The whole command, a real Valkey with the hours of many keys, a cursor, and a file or a receiver of
CloudEvents. A second run finds no difference. Rates are by processor time of the command.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from tests.bench.figures import number, offer_record, record
from tests.bench.processor_time import child_seconds
from tests.bench.usage import CALLERS_KEPT, HOUR, KEPT, add
from tests.bench.usage_entries import entry
from tests.support.real import RealClock, Valkey
from tests.support.usage_counting import open_link

AUTHZ = (sys.executable, "-m", "authz.cli.main")
HOURS = 20  # in which each key was used
UNITS = 2
EVENTS = 100_000
COMMIT = 500  # keys


async def fill(valkey: Valkey, keys: int) -> None:
    """Count a request of each of so many keys in each of HOURS hours, as a meter does."""
    rnd, now, last = random.Random(1), RealClock().wall_ms(), 0
    hour = now // HOUR * HOUR
    async with open_link(valkey.endpoint, KEPT, callers_kept=CALLERS_KEPT) as link:
        for ended in range(hour - (HOURS + 3) * HOUR, hour - 3 * HOUR, HOUR):
            for first in range(0, keys, COMMIT):
                kids = range(first, min(first + COMMIT, keys))
                await add(link, [entry(last + kid, kid, ended, rnd) for kid in kids], now)
            last += keys


class Receiver(BaseHTTPRequestHandler):
    """Takes everything."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Take a batch."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Write no lines."""


def export(directory: Path, url: str, *options: str) -> float:
    """Return the seconds of processor time that an export takes."""
    began = child_seconds()
    answer(directory, url, "usage", "export", "--json", *options)
    return child_seconds() - began


def answer(directory: Path, url: str, *command: str) -> bytes:
    """Run a command on the store with this URL, and return its output."""
    environment = os.environ | {"AUTHZ_REDIS__URL": url}
    done = subprocess.run(
        [*AUTHZ, *command], cwd=directory, env=environment, check=True, stdout=subprocess.PIPE
    )
    return done.stdout


def run(records: int) -> dict[str, float]:
    """Return the figures of an export of so many records."""
    keys = records // (HOURS * UNITS)
    with Valkey() as valkey, tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        answer(directory, valkey.url, "init")
        asyncio.run(fill(valkey, keys))
        to_file = export(directory, valkey.url, "--cursor", "c", "--to", "f")
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        with (directory / "f").open("rb") as lines:
            written = sum(1 for _ in lines)
        if written != records:
            raise SystemExit(f"{written} records were written, not {records}")
        size = (directory / "c").stat().st_size
        again = export(directory, valkey.url, "--cursor", "c", "--to", "f")
        since = f"{max(5, 4 + EVENTS * HOURS // records)}h"
        server = HTTPServer(("127.0.0.1", 0), Receiver)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        where = f"http://127.0.0.1:{server.server_address[1]}/"
        rehearsal = ("usage", "export", "--json", "--dry-run", "--since", since)
        events = json.loads(answer(directory, valkey.url, *rehearsal))["records"]
        to_web = export(directory, valkey.url, "--cursor", "w", "--to", where, "--since", since)
        server.shutdown()
    return {
        "billing.records.file": records / to_file,
        "billing.records.events": events / to_web,
        "billing.records.again": records / again,
        "billing.memory": peak,
        "billing.cursor.record": size / records,
    }


def main() -> None:
    """Print the figures, and record them if asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    offer_record(parser)
    options = parser.parse_args()
    found = run(options.records)
    for name, value in found.items():
        print(f"{name}: {number(value)}")
    if options.record:
        record(found)


if __name__ == "__main__":
    main()
