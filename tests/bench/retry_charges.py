"""Failed requests and units charged too much while one of two sidecars fails.

    python -m tests.bench.retry_charges [--fault hung] [--snippet] [--rounds 1] [--rate 200]

Envoy asks two sidecars as deploy/systemd/envoy.yaml says, or as `authz envoy snippet` prints. One
sidecar is dead from the start; or after a second it is killed, stops for good, or stops and goes on
in turn. Each fault meets 1 client and 16. The key has a limit of which sidecars lease units, or one
of which each request asks the store. The first is measured again with `charge_once` and
x-request-id. The table takes 5 minutes.

A request has failed if its answer is not 200. On a busy machine the store may answer later than
check.deadline. Each such outage charges units too many by itself, so the table counts them. Before
the units are read the sidecars end in order, so that leases are given back; that of a killed one is
lost.
"""

import argparse
import asyncio
import itertools
import re
import signal
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import uvloop
import yaml

from authz.cli.doctor import expected_of
from authz.core.limits.charge import SpendRequest, charge_for
from authz.core.limits.key_limits import KeyLimits, LimitGroup, Owner
from authz.core.limits.limit import OnOutage, parse_limits
from authz.core.listen_address import Address
from authz.proxy.snippet import snippet
from authz.settings import model
from authz.storage.limits.spend_script import SPEND, arguments, spend_reply
from tests.bench.figures import machine
from tests.bench.rolling import Pair, Tally, healthy, start_envoy
from tests.support.real import Valkey, eventually
from tests.support.serving import Serving, prepared

FAULTS: Final = ("dead", "hung", "stop and go", "killed")
CLIENTS: Final = (1, 16)
LEASED, STORE = "100000/h", "100000/h,burst=100000"
# The limit and whether the route charges once, by the name of the row.
CHARGES: Final = {"leases": (LEASED, False), "store": (STORE, False), "charge_once": (LEASED, True)}
ONCE: Final = [{"path": "/**", "charge_once": {"headers": ["x-request-id"]}}]
NOT_COUNTED: Final = "limits are not counted in the store"  # a line of the log
HELD: Final = 0.25  # seconds of a stop, and of the time behind it


def charge_once(sidecar: Serving) -> None:
    """Let every route of a sidecar charge a request of Envoy once."""
    settings = yaml.safe_load(sidecar.file.read_text())
    sidecar.file.write_text(yaml.safe_dump(settings | {"routes": ONCE}))


async def fail(fault: str, sidecar: Serving, seconds: float) -> None:
    """Let a sidecar fail after a second. Return after so many seconds."""
    end = time.monotonic() + seconds
    await asyncio.sleep(1)
    if fault == "killed":
        sidecar.tell(signal.SIGKILL)
    elif fault == "hung":
        sidecar.tell(signal.SIGSTOP)
    while fault == "stop and go" and time.monotonic() < end:
        for number in (signal.SIGSTOP, signal.SIGCONT):
            sidecar.tell(number)
            await asyncio.sleep(HELD)
    await asyncio.sleep(max(0.0, end - time.monotonic()))


def charged(valkey: Valkey, limit: str, kid: str) -> int:
    """Return the units that the store has counted of the only limit of a key."""
    group = LimitGroup(Owner.KEY, kid, parse_limits("limits", (limit,)))
    charge = charge_for(KeyLimits((group,), OnOutage.LOCAL), 1, int(time.time() * 1000))
    count, *words = arguments(charge, SpendRequest(0))
    reply = spend_reply(charge, valkey.admin.eval(SPEND, int(count), *words))
    return charge.counters[0].limit - reply.left[0]


def outages(sidecars: list[Serving]) -> int:
    """Return how often the sidecars counted for themselves, because the store was late."""
    return sum(sidecar.log.read_text().count(NOT_COUNTED) for sidecar in sidecars)


def retries(admin: Address) -> int:
    """Return how many Checks Envoy has repeated."""
    with urllib.request.urlopen(f"http://{admin}/stats?filter=upstream_rq_retry$") as answer:
        found = re.search(rb"^cluster\.authz\.upstream_rq_retry: (\d+)$", answer.read(), re.M)
    return int(found[1]) if found else 0


def snippet_cluster(sidecar: Serving, checks: list[Address]) -> dict[str, Any]:
    """Return the cluster of the sidecars that `authz envoy snippet` prints."""
    printed = snippet(expected_of(model.load(sidecar.file, environ={})), checks)
    clusters = yaml.safe_load(printed)["clusters"]
    return next(cluster for cluster in clusters if cluster["name"] == "authz")


async def measure(
    fault: str, clients: int, charge: str, *, rate: float, seconds: float, printed: bool
) -> dict[str, int]:
    """Return the requests of one run, those that failed, retries, outages, and units too many.

    charge: a name of CHARGES. rate: requests a second of all clients. printed: Envoy has the
    cluster that `authz envoy snippet` prints.
    """
    limit, once = CHARGES[charge]
    tally = Tally()
    with ExitStack() as opened:
        directory = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="authz-")))
        valkey = opened.enter_context(Valkey())
        sidecars = [Serving(directory, valkey) for _ in range(2)]
        for sidecar in sidecars if once else ():
            charge_once(sidecar)
        (issued,) = await prepared(sidecars[0].file, limits=parse_limits("limits", (limit,)))
        running = sidecars[fault == "dead" :]
        for sidecar in running:
            opened.enter_context(sidecar)
            await eventually(sidecar.is_ready)
        checks = [Address.parse("", sidecar.check) for sidecar in sidecars]
        cluster = snippet_cluster(sidecars[0], checks) if printed else None
        envoy, admin = start_envoy(opened, checks, cluster)
        await eventually(lambda: asyncio.to_thread(healthy, admin, len(running)))
        async with asyncio.TaskGroup() as tasks:
            asking = Pair(sidecars, envoy, [issued.key_text or ""])
            tasks.create_task(asking.load(rate, tally, clients))
            await fail(fault, sidecars[0], seconds)
            tally.is_over = True
        for sidecar in running:
            sidecar.tell(signal.SIGCONT)
        await asyncio.sleep(1)
        for sidecar in running:
            sidecar.tell(signal.SIGTERM)
            await eventually(sidecar.has_ended, 30)
        units = charged(valkey, limit, issued.record.kid)
        return {
            "requests": tally.answers.total(),
            "failed": tally.failed.total(),
            "retries": retries(admin),
            "outages": outages(running),
            "too many": units - tally.answers["200"],
        }


def main() -> None:
    """Print one line for each run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--fault", choices=("none", *FAULTS), help="default: each fault")
    parser.add_argument("--snippet", action="store_true", help="of `authz envoy snippet`")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=8)
    given = parser.parse_args()
    faults = FAULTS if given.fault is None else (given.fault,)
    print("fault        clients  charged by   requests  failed  retries  outages  units too many")
    for fault, clients, charge in itertools.product(faults, CLIENTS, CHARGES):
        for _ in range(given.rounds):
            running = measure(
                *(fault, clients, charge),
                rate=given.rate,
                seconds=given.seconds,
                printed=given.snippet,
            )
            found = uvloop.run(running)
            counts = (
                found[name] for name in ("requests", "failed", "retries", "outages", "too many")
            )
            row = "{:10}{:8}{:9}{:9}{:16}".format(*counts)
            print(f"{fault:13}{clients:7}  {charge:11}{row}", flush=True)
    print(machine())


if __name__ == "__main__":
    main()
