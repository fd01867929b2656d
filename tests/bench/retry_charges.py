"""Units charged and requests delivered while one of two sidecars fails.

    python -m tests.bench.retry_charges [--rounds 3] [--rate 200] [--seconds 8]

Envoy asks two sidecars as deploy/systemd/envoy.yaml says. After a second one of them is killed,
stops for good, or stops and goes on in turn. A request is delivered if its answer is 200. Before
the units are read the sidecars end in order, so that leases are given back; that of a killed one is
lost.
"""

import argparse
import asyncio
import re
import signal
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import uvloop

from authz.core.limits.charge import SpendRequest, charge_for
from authz.core.limits.key_limits import KeyLimits, LimitGroup, Owner
from authz.core.limits.limit import OnOutage, parse_limits
from authz.core.listen_address import Address
from authz.storage.limits.spend_script import SPEND, arguments, spend_reply
from tests.bench.rolling import Pair, Tally, healthy, start_envoy
from tests.support.real import Valkey, eventually
from tests.support.serving import Serving, prepared

FAULTS = ("none", "dead", "killed", "hung", "stop and go")
LIMITS = {"leased": "100000/h", "asks each time": "100000/h,burst=100000"}
HELD = 0.25  # seconds of a stop, and of the time behind it


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


def retries(admin: Address) -> int:
    """Return how many Checks Envoy has repeated."""
    with urllib.request.urlopen(f"http://{admin}/stats?filter=upstream_rq_retry$") as answer:
        found = re.search(rb"^cluster\.authz\.upstream_rq_retry: (\d+)$", answer.read(), re.M)
    return int(found[1]) if found else 0


async def measure(fault: str, limit: str, rate: float, seconds: float) -> dict[str, int]:
    """Return the requests of one run, those delivered, the units charged and the retries."""
    tally = Tally()
    with ExitStack() as opened:
        directory = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="authz-")))
        valkey = opened.enter_context(Valkey())
        sidecars = [Serving(directory, valkey) for _ in range(2)]
        (issued,) = await prepared(sidecars[0].file, limits=parse_limits("limits", (limit,)))
        running = sidecars[fault == "dead" :]
        for sidecar in running:
            opened.enter_context(sidecar)
            await eventually(sidecar.is_ready)
        checks = [Address.parse("", sidecar.check) for sidecar in sidecars]
        envoy, admin = start_envoy(opened, checks)
        await eventually(lambda: asyncio.to_thread(healthy, admin, len(running)))
        async with asyncio.TaskGroup() as tasks:
            asking = Pair(sidecars, envoy, [issued.key_text or ""])
            tasks.create_task(asking.load(rate, tally))
            await fail(fault, sidecars[0], seconds)
            tally.is_over = True
        for sidecar in running:
            sidecar.tell(signal.SIGCONT)
        await asyncio.sleep(1)
        for sidecar in running:
            sidecar.tell(signal.SIGTERM)
            await eventually(sidecar.has_ended, 30)
        return {
            "requests": tally.answers.total(),
            "delivered": tally.answers["200"],
            "charged": charged(valkey, limit, issued.record.kid),
            "retries": retries(admin),
        }


def main() -> None:
    """Print one line for each run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=8)
    given = parser.parse_args()
    for fault in FAULTS:
        for name, limit in LIMITS.items():
            for _ in range(given.rounds):
                found = uvloop.run(measure(fault, limit, given.rate, given.seconds))
                more = found["charged"] - found["delivered"]
                said = ", ".join(f"{what} {count}" for what, count in found.items())
                print(f"{fault}, {name}: {said}; charged too much {more}", flush=True)


if __name__ == "__main__":
    main()
