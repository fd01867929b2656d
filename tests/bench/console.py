"""The console: the server's time for each page, and the bytes that a browser loads.

    python -m tests.bench.console [--keys N] [--rounds N]

`authz admin` runs alone with a Valkey of its own, with N keys in it, and a session of an
administrator. Its processor time for one page is measured apart, because the machine may be busy.
"""

import argparse
import gzip
import http.client
import re
import statistics
import time
from typing import Final
from urllib.parse import urlencode

from tests.bench.admin_api import serving_keys
from tests.bench.figures import machine
from tests.bench.processor_time import processor_seconds
from tests.rpc.admin.kills import AdminServing

PAGES: Final = (
    *("/", "/keys", "/keys?sort=oldest", "/keys?client=acme-web", "/keys?q=fits-nothing"),
    *("/keys/KID", "/keys/KID/history", "/keys/KID/edit", "/keys/new", "/owners", "/usage"),
    *("/audit", "/events", "/sidecars", "/settings", "/incident", "/keys?sort=name"),
    *("/keys?tenant=north", "/keys?tenant=none"),
)
FILE: Final = re.compile(r'(?:src|href)="(/static/[^"]+)"')


class Visitor:
    """An administrator with a session."""

    def __init__(self, host: str, key: str) -> None:
        self.connection = http.client.HTTPConnection(host, timeout=60)
        form = urlencode({"key": key, "next": "/"}).encode()
        headers = {"sec-fetch-site": "same-origin"}
        self.connection.request("POST", "/login/key", form, headers)
        response = self.connection.getresponse()
        response.read()
        cookie = response.headers.get("set-cookie", "")
        assert cookie, response.status
        self.headers = {"cookie": cookie.partition(";")[0], "accept-encoding": "gzip"}

    def load(self, path: str) -> tuple[float, bytes]:
        """Return the milliseconds until the whole page was read, and its bytes."""
        began = time.perf_counter()
        self.connection.request("GET", path, headers=self.headers)
        response = self.connection.getresponse()
        body = response.read()
        assert response.status == 200, (path, response.status)
        return (time.perf_counter() - began) * 1000, body


def weight(visitor: Visitor, page: bytes) -> tuple[int, int]:
    """Return the bytes of a page with all its files, as they are sent, and those of scripts."""
    files = {path: len(visitor.load(path)[1]) for path in FILE.findall(page.decode())}
    scripts = sum(size for path, size in files.items() if path.endswith(".js"))
    return len(page) + sum(files.values()), scripts


def measure(serving: AdminServing, visitor: Visitor, kid: str, rounds: int) -> None:
    """Print a line for each page. A search that nothing fits shows its page before its rows."""
    assert serving.process is not None
    pid = serving.process.pid
    for page in PAGES:
        path = page.replace("KID", kid)
        visitor.load(path)  # templates are compiled at their first use
        before = processor_seconds(pid)
        loaded = [visitor.load(path) for _ in range(rounds)]
        used = (processor_seconds(pid) - before) / rounds * 1000
        times = sorted(took for took, _ in loaded)
        total, scripts = weight(visitor, loaded[-1][1])
        p95 = times[int(len(times) * 0.95)]
        print(
            f"{path:24} p50 {statistics.median(times):6.1f} ms  p95 {p95:6.1f} ms"
            f"  processor {used:5.1f} ms  {total / 1000:5.1f} kB, scripts {scripts / 1000:4.1f} kB"
            f"  ({len(gzip.compress(loaded[-1][1])) / 1000:.1f} kB of HTML if it were compressed)"
        )


def main() -> None:
    """Fill a store, start the process and measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=60)
    given = parser.parse_args()
    with serving_keys(given.keys) as (serving, key):
        print(f"{machine()}, {given.keys} keys")
        measure(serving, Visitor(serving.http, key), key.split("_")[2], given.rounds)


if __name__ == "__main__":
    main()
