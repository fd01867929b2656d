"""One process of a fleet: asks a Checker at a steady rate and writes down what was let pass.

python -m tests.spending.worker URL FILE RATES [--store right|fixed|racing] [--no-leases]

RATES: requests a second for each key of tests/spending/fleet.py. It says "ready", and begins with
the next line on its standard input.
"""

import argparse
import asyncio
import os
import sys
from functools import partial

import uvloop

from authz.core.decision import Charged
from authz.core.limits.key_limits import LimitPolicy
from authz.flows.check import Checker
from authz.flows.limits.limiter import Limiter
from authz.storage.endpoint import Endpoint
from authz.storage.limits.spend_link import SpendLink
from authz.storage.limits.spend_script import SPEND
from authz.telemetry import Counters
from tests.spending.fleet import KEYRING, KEYS
from tests.spending.history import ROW
from tests.spending.stores import FIXED_WINDOWS, LooksThenTakes
from tests.support.caches import filled
from tests.support.fakes import make_request
from tests.support.flows.rigs import Vouched
from tests.support.real import RealClock, eventually

TICK = 0.001
PATIENCE = 2.0  # seconds that the store may take: the machine is busy on purpose


class WatchedClock(RealClock):
    """Remembers the moment that a decision was made at."""

    last = 0.0

    def monotonic(self):
        self.last = now = super().monotonic()
        return now


class Worker:
    """The Checker, and its log."""

    def __init__(self, arguments):
        self.clock = WatchedClock()
        self.probe = Counters()
        script = FIXED_WINDOWS if arguments.store == "fixed" else SPEND
        self.link = SpendLink(
            Endpoint.parse(arguments.url),
            self.clock,
            instance=f"worker-{os.getpid()}",
            deadline=PATIENCE,
            script=script,
        )
        store = LooksThenTakes(self.link) if arguments.store == "racing" else self.link
        self.limiter = Limiter(
            store, LimitPolicy(), self.clock, self.probe, max_keys=10, leases=arguments.leases
        )
        self.rates = [float(rate) for rate in arguments.rates.split(",")]
        self.file = os.open(arguments.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.rows = []

    async def serve(self):
        """Ask until killed."""
        running = asyncio.create_task(self.link.run())
        cache = await filled([record for record, _ in KEYS], self.clock, self.probe)
        checker = Checker(cache, Vouched("1"), self.clock, self.probe, limiter=self.limiter)
        requests = [make_request(credential=KEYRING.parse(text)) for _, text in KEYS]
        await eventually(lambda: self.link.is_open)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        began, asked = self.clock.monotonic(), [0] * len(self.rates)
        while not running.done():
            now = self.clock.monotonic() - began
            for key, rate in enumerate(self.rates):
                due = min(int(now * rate), asked[key] + 200)  # after a pause not all at once
                behind = int(now * rate) - due
                for _ in range(due - asked[key]):
                    self.ask(checker, key, requests[key])
                asked[key] = due + behind
            self.write()
            await asyncio.sleep(TICK)

    def ask(self, checker, key, request):
        before = self.now()
        decision = checker.check(request)
        if isinstance(decision, Charged):
            self.admit(key, microseconds(self.clock.last), microseconds(self.clock.last))
        elif asyncio.iscoroutine(decision):
            asyncio.ensure_future(decision).add_done_callback(partial(self.on_decided, key, before))

    def on_decided(self, key, before, task):
        if isinstance(task.result(), Charged):
            self.admit(key, before, self.now())

    def admit(self, key, early, late):
        self.rows.append(ROW.pack(key, early, late))

    def write(self):
        if self.rows:
            os.write(self.file, b"".join(self.rows))
            self.rows.clear()

    def now(self):
        return microseconds(RealClock.monotonic(self.clock))


def microseconds(monotonic):
    """By the boot clock, which all processes of a machine share."""
    return int(monotonic * 1e6)


def main():
    """Runs until it is killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("file")
    parser.add_argument("rates")
    parser.add_argument("--store", choices=("right", "fixed", "racing"), default="right")
    parser.add_argument("--no-leases", dest="leases", action="store_false")
    uvloop.run(Worker(parser.parse_args()).serve())


if __name__ == "__main__":
    main()
