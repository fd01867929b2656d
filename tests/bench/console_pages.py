"""The time of the server for pages of the console, among many keys.

    python -m tests.bench.console_pages [--keys N] [--rounds N]

Makes the keys in a Valkey of its own and serves the pages in this process, so the time of the
client counts, too. A search that nothing fits shows its page at once, and its rows later.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

from authz.storage import schema
from authz.wiring import administration
from tests.bench.figures import machine
from tests.bench.listing import fill
from tests.support.console.serving import Site, console_site, get
from tests.support.real import Valkey
from tests.support.rpc.admin import admin_rig, admin_settings

PAGES: Final = (
    "/",
    "/keys",
    "/keys?sort=oldest",
    "/keys?client=acme-web",
    "/keys?q=fits-nothing",
    "/keys/KID",
    "/keys/KID/history",
    "/keys/KID/edit",
    "/keys/new",
    "/incident",
)


async def measure(site: Site, path: str, rounds: int) -> None:
    """Print the median and the 95th percentile of a page, and its size."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        page = await get(site, path)
        taken.append((time.perf_counter() - began) * 1000)
        assert page.status == 200, (path, page.status)
    late = statistics.quantiles(taken, n=20)[-1]
    print(
        f"{path:24} p50 {statistics.median(taken):5.1f} ms  p95 {late:5.1f} ms"
        f"  {len(page.text.encode()) / 1024:5.1f} KiB"
    )


async def run(valkey: Valkey, directory: Path, keys: int, rounds: int) -> None:
    """Fill the store, serve the pages and measure each."""
    settings = admin_settings(valkey, directory, calls_per_second=100_000)
    async with admin_rig(settings) as rig, console_site(rig) as site:
        async with administration.endpoint(settings).client() as client:
            await fill(client, keys)
            await client.hdel(schema.names_of(client).meta, "sealed")  # these have no seals
        kid, _ = await rig.issue(["models:read"], client_id="bench", plan="standard")
        print(f"{machine()}, {keys} keys")
        for path in PAGES:
            await measure(site, path.replace("KID", kid), rounds)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=100)
    given = parser.parse_args()
    with Valkey() as valkey, tempfile.TemporaryDirectory() as directory:
        asyncio.run(run(valkey, Path(directory), given.keys, given.rounds))


if __name__ == "__main__":
    main()
