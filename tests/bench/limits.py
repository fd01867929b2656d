"""The cost of limits: `python -m tests.bench.limits`.

1. A request with a lease in hand against one of a key without limits, bytes to bytes.
2. Every request asked of the store, through the whole Checker, against the same script on the
   smallest client that can be written for it, in turn.
3. One key of 10000/s under full load: commands to the store for each 100 requests.
"""

import argparse
import asyncio
import json
import time
from collections import deque

import hiredis
import uvloop

from authz.core.decision import Charged
from authz.core.limits.charge import SpendRequest, limit_result
from authz.core.limits.key_limits import LimitPolicy
from authz.core.limits.limit import OnOutage, parse_limits
from authz.flows.check import Checker
from authz.flows.limits.limiter import Limiter
from authz.storage.limits.spend_link import SpendLink
from authz.storage.limits.spend_script import SPEND, arguments
from authz.telemetry import Counters
from tests.bench.check_hot import Hot, measure
from tests.bench.figures import machine, offer_record, record
from tests.support.caches import filled
from tests.support.fakes import issue_record, make_keyring, make_request
from tests.support.flows.rigs import Vouched
from tests.support.real import RealClock, Valkey, eventually

AMPLE = (*(f"1000000000/{per}" for per in ("s", "min", "h", "d")), "1000000000000/month")
CONCURRENCY = 64
BOUNDS = {"lease": 1.6, "strict": 0.6, "commands": 5.0}


class Leased(Hot):
    """The door of the other benchmark, with limits on its key and a lease that never ends."""

    def __init__(self, limits: tuple[str, ...] = AMPLE) -> None:
        super().__init__(limits=parse_limits("limits", limits))
        asyncio.run(self.take_lease())

    async def take_lease(self) -> None:
        await self.limiter.spend(self.record, 1)
        state = self.limiter._find(self.record.kid)
        state.left, state.until = 10**12, float("inf")
        state.lease_result = state.lease_result or limit_result(state.charge, state.last_reply)


def lease_ratio(repeats: int, number: int) -> dict[str, float]:
    """Microseconds of both, and their ratio: measured in turn, the median of all pairs."""
    free, leased = Hot(), Leased()
    found = measure(
        {
            "free": lambda: free.door.check(free.requests["map"]),
            "whole": lambda: leased.door.check(leased.requests["map"]),
        },
        repeats,
        number,
        unit="free",
    )
    return {"free": found["free"], "leased": found["whole"], "ratio": found["ratio"]}


class Bare(asyncio.Protocol):
    """One connection, answers in order, writes joined: nothing that could be left out."""

    def __init__(self) -> None:
        self.reader, self.waiting, self.unsent = hiredis.Reader(), deque(), []
        self.loop = asyncio.get_running_loop()

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.reader.feed(data)
        while (reply := self.reader.gets()) is not False:
            self.waiting.popleft().set_result(reply)

    def flush(self) -> None:
        self.transport.writelines(self.unsent)
        self.unsent = []

    def call(self, *command: str) -> asyncio.Future:
        answer = self.loop.create_future()
        self.waiting.append(answer)
        if not self.unsent:
            self.loop.call_soon(self.flush)
        self.unsent.append(hiredis.pack_command(command))
        return answer


async def rate(call, seconds: float) -> float:
    """Calls a second, CONCURRENCY at a time."""
    done, end = 0, time.perf_counter() + seconds

    async def caller():
        nonlocal done
        while time.perf_counter() < end:
            await call()
            done += 1

    await asyncio.gather(*(caller() for _ in range(CONCURRENCY)))
    return done / seconds


async def strict_rates(valkey: Valkey, seconds: float, rounds: int) -> dict[str, float]:
    """The Checker against the bare client, in turn; the same script, the same arguments."""
    clock, probe, ring = RealClock(), Counters(), make_keyring()
    record, text = issue_record(ring, limits=parse_limits("limits", AMPLE), on_outage=OnOutage.DENY)
    link = SpendLink(valkey.endpoint, clock, instance="bench", deadline=1)
    running = asyncio.create_task(link.run())
    limiter = Limiter(link, LimitPolicy(), clock, probe, max_keys=10, leases=False)
    checker = Checker(
        await filled([record], clock, probe), Vouched("1"), clock, probe, limiter=limiter
    )
    request = make_request(credential=ring.parse(text))
    await eventually(lambda: link.is_open)
    assert isinstance(await checker.check(request), Charged)

    state = limiter._find(record.kid)
    command = (
        "EVALSHA",
        valkey.admin.script_load(SPEND),
        *arguments(state.charge, SpendRequest(1)),
    )
    _, bare = await asyncio.get_running_loop().create_connection(Bare, "127.0.0.1", valkey.port)
    found = {"checker": 0.0, "bare": 0.0}
    for _ in range(rounds):
        found["bare"] += await rate(lambda: bare.call(*command), seconds) / rounds
        found["checker"] += await rate(lambda: checker.check(request), seconds) / rounds
    bare.transport.close()
    running.cancel()
    spent = valkey.admin.info("commandstats")["cmdstat_evalsha"]["usec_per_call"]
    return found | {"ratio": found["checker"] / found["bare"], "server_us": spent}


async def full_load(valkey: Valkey, seconds: float) -> dict[str, float]:
    """One key of 10000/s, asked for 1.5 times that: commands, and what was let pass."""
    clock, probe = RealClock(), Counters()
    record, _ = issue_record(make_keyring(), limits=parse_limits("limits", ("10000/s",)))
    link = SpendLink(valkey.endpoint, clock, instance="bench", deadline=1)
    running = asyncio.create_task(link.run())
    limiter = Limiter(link, LimitPolicy(), clock, probe, max_keys=10)
    await eventually(lambda: link.is_open)
    valkey.admin.config_resetstat()
    passed, asked, began = 0, 0, time.perf_counter()

    def done(future):
        nonlocal passed
        passed += future.result().allowed

    while (now := time.perf_counter() - began) < seconds:
        for _ in range(int(now * 15_000) - asked):
            asked += 1
            spent = limiter.spend(record, 1)
            if asyncio.isfuture(spent):
                spent.add_done_callback(done)
            else:
                passed += spent.allowed
        await asyncio.sleep(0.0005)
    calls = valkey.admin.info("commandstats")["cmdstat_evalsha"]["calls"]
    running.cancel()
    return {"passed": passed / seconds, "commands": 100 * calls / asked, "each": calls / passed}


def main() -> None:
    """Measure, and say whether the figures are within their bounds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--number", type=int, default=200, help="calls a repeat")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    offer_record(parser)
    given = parser.parse_args()
    lease = lease_ratio(given.repeats, given.number)
    with Valkey() as valkey:
        strict = uvloop.run(strict_rates(valkey, given.seconds, given.rounds))
        load = uvloop.run(full_load(valkey, given.seconds))
    good = (
        lease["ratio"] <= BOUNDS["lease"]
        and strict["ratio"] >= BOUNDS["strict"]
        and load["commands"] <= BOUNDS["commands"]
    )
    if given.record:
        record(
            {
                "limits.lease": lease["ratio"],
                "limits.asked": 100 * strict["ratio"],
                "limits.script": strict["server_us"],
                "limits.commands": load["commands"],
                "limits.commands_passed": 100 * load["each"],
            }
        )
    if given.json:
        print(json.dumps({"lease": lease, "strict": strict, "full_load": load, "good": good}))
    else:
        print(
            f"with a lease in hand: {lease['leased']:.2f} us, without limits {lease['free']:.2f}: "
            f"{lease['ratio']:.2f} times (at most {BOUNDS['lease']})\n"
            f"every request at the store: {strict['checker']:.0f}/s, a bare client "
            f"{strict['bare']:.0f}/s: {strict['ratio']:.0%} (at least {BOUNDS['strict']:.0%}); "
            f"four windows and a month take the server {strict['server_us']:.1f} us\n"
            f"10000/s under full load: {load['passed']:.0f}/s pass, {load['commands']:.1f} "
            f"commands for 100 requests (at most {BOUNDS['commands']:g}), "
            f"{100 * load['each']:.1f} for 100 that pass\n{machine()}"
        )
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
