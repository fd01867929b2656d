"""Measures what a flood of forged keys costs good keys: `python -m tests.bench.flood`.

A real sidecar on a core of its own, with the fast transport and the settings that it has by itself.
The garbage is forged as well as can be without the pepper: each key another, of the right shape,
with the version of the pepper that is in use and a checksum that holds. There are as many good
keys, all cached. Latencies are those of good keys, a tenth of what saturates, sent at random times,
in many short rounds. Half of saturation is half of the calls a second that saturate it with good
keys.
"""

import argparse
import asyncio
import itertools
import json
import os
import statistics
import tempfile
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from math import inf
from pathlib import Path
from typing import Any

import uvloop

from authz.core.listen_address import Address
from tests.bench import load, polling
from tests.bench.check_hot import client_headers, machine
from tests.bench.figures import offer_record, record
from tests.bench.measured import GRPC, LOAD_CORE, SERVER_CORE
from tests.bench.processor_time import thread_seconds
from tests.support.fakes import make_keyring
from tests.support.real import Valkey
from tests.support.rpc.messages import PEER, check_request
from tests.support.serving import Serving, prepared

LIMITS = {
    "half": 3.0,
    "full": 1.05,  # no worse, and what the measurement scatters by
    "lines": 99,
    "growth_mib": 8.0,
}
NOT_BLOCKED = {"abuse": {"failures_per_minute": 0}}  # each failure is decided as it is
GOOD, HALF = 0.1, 0.5  # shares of what saturates
CONNECTIONS, AT_A_TIME = 2, 16
KEYS = 5000  # of a forged one nothing is remembered: each time it is as if never seen


class Keys(load.Requests):
    """An endless supply of keys of one length, so that all requests have one length."""

    def __init__(self, texts: Iterable[str], peers: Sequence[str] = (PEER,)) -> None:
        bodies = [body_of(*pair) for pair in zip(texts, itertools.cycle(peers))]
        super().__init__(GRPC, bodies[0])
        assert {len(body) for body in bodies} == {len(self.body)}
        self._bodies = itertools.cycle(bodies)

    def encoded(self, ids: Iterator[int]) -> Iterator[bytes]:
        """Implement Requests.encoded."""
        for made in super().encoded(ids):
            yield made[: -len(self.body)] + next(self._bodies)


def body_of(key: str, peer: str) -> bytes:
    """Return a gRPC message with the Check of this key."""
    request = check_request(client_headers(key), method="POST", path="/v1", peer=peer)
    raw = request.SerializeToString()
    return b"\0" + len(raw).to_bytes(4) + raw


def forged_keys(_file: Path) -> Iterable[str]:
    """Return keys that are forged as well as can be without the pepper."""
    ring = make_keyring()
    return (ring.mint("live").text for _ in range(KEYS))


class Flooded:
    """A sidecar and its clients. settings: more of them. forge: makes the garbage, given the file.

    store: that of the sidecar. peers: the addresses of the clients.
    """

    def __init__(
        self,
        stack: ExitStack,
        settings: Mapping[str, Mapping[str, Any]] = {},
        forge: Callable[[Path], Iterable[str]] = forged_keys,
        peers: Sequence[str] = (PEER,),
    ) -> None:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="authz-")))
        self.store = stack.enter_context(Valkey())
        own = {"check": {"transport": "fast"}, "cache": {"ttl": "1h"}, **NOT_BLOCKED}
        more = {**own, **settings}
        self._serving = Serving(directory, self.store, more)
        issued = asyncio.run(prepared(self._serving.file, KEYS))
        forged = list(forge(self._serving.file))
        stack.enter_context(self._serving)
        self._serving.wait_until_ready()
        self.ops = self._serving.ops
        self._pid = self._serving.pid
        os.sched_setaffinity(self._pid, SERVER_CORE)
        os.sched_setaffinity(0, LOAD_CORE)
        self.answered = 0  # good keys in measurements of latency
        self.late = 0.0  # seconds
        self._address = Address.parse("", self._serving.check)
        self._good = Keys([key.key_text for key in issued], peers)
        self._garbage = Keys(forged, peers)

    def prefer(self) -> bool:
        """Let no other program of this machine interrupt the sidecar from now on.

        Return whether that is allowed. It has a core, but other programs run there, too. The load
        keeps its priority: Linux stops a process of real-time priority that never sleeps for 50 ms
        of each second.
        """
        try:
            os.sched_setscheduler(self._pid, os.SCHED_FIFO, os.sched_param(1))
        except PermissionError:
            return False
        return True

    def saturation(self, seconds: float, *, garbage: bool = False) -> float:
        """Return the largest number of Checks a second that the sidecar answers."""
        found = uvloop.run(self._saturate(self._garbage if garbage else self._good, seconds))
        return found.answered / seconds

    def p99(
        self, rate: float, seconds: float, beside: float | None = None, *, garbage: bool = True
    ) -> float:
        """Return the p99 of good Checks beside others at a rate, in seconds; inf is full speed.

        At a rate the load has no event loop: it polls, and answers of other requests do not wait in
        front of those that are timed. The delays of the load itself are left out, as `polling.pace`
        says. `late` grows to the p99 by which it sent late.
        """
        requests = self._garbage if garbage else self._good
        if beside == inf:
            found = uvloop.run(self._beside_full_speed(requests, rate, seconds))
        else:
            others = None if beside is None else polling.Flow(requests, beside, pause=0.001)
            found = polling.pace(
                self._address,
                self._good,
                connections=CONNECTIONS,
                rate=rate,
                seconds=seconds,
                spin=True,
                beside=others,
            )
            if others is not None and not garbage:
                self.answered += others.answered
            self.late = max(self.late, load.quantile(found.late, 0.99))
        assert not found.failed
        self.answered += found.answered
        return load.quantile(found.served or found.latencies, 0.99)

    async def _beside_full_speed(
        self, requests: load.Requests, rate: float, seconds: float
    ) -> load.Tally:
        pace = load.pace(
            self._address, self._good, connections=CONNECTIONS, rate=rate, seconds=seconds
        )
        paced = asyncio.create_task(pace)
        await self._saturate(requests, seconds / 1.2)
        return await paced

    def _saturate(self, requests: load.Requests, seconds: float) -> Any:
        return load.saturate(
            self._address,
            requests,
            connections=CONNECTIONS,
            at_a_time=AT_A_TIME,
            seconds=seconds,
        )

    def cost(self, calls: int = 20_000, *, garbage: bool = False) -> float:
        """Return the microseconds of processor time that one Check takes, in the whole sidecar."""
        began = thread_seconds(self._pid)
        uvloop.run(
            load.repeat(
                self._address,
                self._garbage if garbage else self._good,
                connections=CONNECTIONS,
                at_a_time=AT_A_TIME,
                calls=calls,
            )
        )
        return (thread_seconds(self._pid) - began) / calls * 1e6

    def processor_seconds(self) -> float:
        """Return the processor time of the whole sidecar so far."""
        return thread_seconds(self._pid)

    def flood(self, seconds: float) -> dict[str, float]:
        """Send forged keys at full speed. Return log lines and growth of memory."""
        uvloop.run(self._saturate(self._garbage, seconds / 1.2 / 6))
        before, lines = self._mib(), self._lines()
        found = uvloop.run(self._saturate(self._garbage, seconds / 1.2))
        return {
            "checks": found.answered,
            "lines": self._lines() - lines,
            "mib": round(self._mib(), 1),
            "growth_mib": round(self._mib() - before, 1),
        }

    def allowed(self) -> int:
        """Return how many Checks the sidecar has allowed."""
        return self._counted('outcome="allowed"')

    def blocked(self) -> int:
        """Return how many Checks it has refused because their address had too many failures."""
        return self._counted('reason="too_many_failures"')

    def _counted(self, label: str) -> int:
        with urllib.request.urlopen(f"{self._serving.ops}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        found = [one for one in lines if one.startswith("authz_checks_total{") and label in one]
        return sum(int(float(one.split()[-1])) for one in found)

    def mib(self) -> float:
        """Return the memory of the sidecar in MiB."""
        return self._mib()

    def _lines(self) -> int:
        return len(self._serving.log.read_text().splitlines())

    def _mib(self) -> float:
        pages = int(Path(f"/proc/{self._pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def run(seconds: float, flood_seconds: float, rounds: int) -> dict[str, Any]:
    """Return the measurements. Each latency is measured for so many seconds a round."""
    with ExitStack() as stack:
        server = Flooded(stack)
        server.saturation(1)  # every good key has been seen once
        most = server.saturation(min(seconds, 5))
        most_garbage = server.saturation(min(seconds, 5), garbage=True)
        good = most * GOOD
        cases: dict[str, Callable[[], float]] = {
            "alone": lambda: server.p99(good, seconds),
            "half": lambda: server.p99(good, seconds, most * HALF - good),
            "full": lambda: server.p99(good, seconds, inf),
            "full of good keys": lambda: server.p99(good, seconds, inf, garbage=False),
        }
        taken: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(rounds):
            for name, measure in cases.items():
                taken[name].append(measure())
        flood = server.flood(flood_seconds)

    def times(one: str, other: str) -> float:
        """Return the ratios of two series, each round with itself, so that other load hits both."""
        pairs = zip(taken[one], taken[other], strict=True)
        return round(statistics.median(value / base for value, base in pairs), 2)

    return {
        "saturation": round(most),
        "garbage_saturation": round(most_garbage),
        "p99_ms": {name: round(statistics.median(taken[name]) * 1000, 2) for name in taken},
        "half": times("half", "alone"),
        "full": times("full", "full of good keys"),
        **flood,
    }


PUBLISHED = ("lines", "half", "full")


def main() -> None:
    """Measure, and exit with 1 if a figure is over its limit."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--seconds", type=float, default=2, help="for each latency")
    parser.add_argument("--rounds", type=int, default=12, help="of them; medians count")
    parser.add_argument("--flood", type=float, default=60, help="seconds of the flood")
    offer_record(parser)
    given = parser.parse_args()
    found = run(given.seconds, given.flood, given.rounds)
    if given.record:
        rate = found["checks"] / given.flood
        record({"flood.rate": rate} | {f"flood.{name}": found[name] for name in PUBLISHED})
    good = all(found[name] <= limit for name, limit in LIMITS.items())
    if given.json:
        print(json.dumps(found | {"limits": LIMITS, "within_limits": good, "machine": machine()}))
    else:
        p99 = ", ".join(f"{name} {value} ms" for name, value in found["p99_ms"].items())
        print(
            f"good keys saturate it at {found['saturation']} a second, garbage at "
            f"{found['garbage_saturation']}; p99 of good keys at a tenth: {p99}"
        )
        print(f"half of saturation, flooded: {found['half']} times alone (limit {LIMITS['half']})")
        print(f"full speed: {found['full']} times good keys as fast (limit {LIMITS['full']})")
        print(
            f"{found['checks']} garbage keys in {given.flood:g} s: {found['lines']} log lines "
            f"(limit {LIMITS['lines']}), {found['mib']} MiB, {found['growth_mib']} MiB more than "
            f"after a sixth of that (limit {LIMITS['growth_mib']})"
        )
        print(f"\n{machine()}")
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
