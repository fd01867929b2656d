"""The cost of telemetry on a cache hit, bytes to bytes: `python -m tests.bench.telemetry`.

Each figure is a ratio to the same door without any telemetry, the two measured in turn. The time is
that of the thread that decides; what the exporting threads use is told apart, as a share of a core.
Where a receiver hangs or refuses, wall clock time counts: there, waiting is what is looked for.
"""

import argparse
import contextlib
import itertools
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from authz.core.decision import Reason
from authz.core.events import Event
from authz.core.sightings import Sightings
from authz.storage.endpoint import Endpoint
from authz.storage.feed import ChangeFeed
from authz.storage.limits.spend_link import SpendLink
from authz.telemetry.counters import Counters
from authz.telemetry.denials import Denials
from authz.telemetry.metrics import Metrics, Push
from authz.telemetry.observer import Observer
from authz.telemetry.traces import Traces, exporter
from authz.wiring.partition import Partition
from authz.wiring.telemetry import Parts, readings
from tests.bench.check_hot import Hot, client_headers, machine
from tests.bench.figures import offer_record, record
from tests.support.real import free_port
from tests.support.rpc.messages import check_request
from tests.support.telemetry.receiver import black_hole

LIMITS = {"metrics": 1.05, "metrics, hanging receiver": 1.05, "metrics, refusing receiver": 1.05}
LIMITS |= {f"and {name}": 1.10 for name in ("traces", "traces, hanging receiver")}
ABOUT = {"service.name": "authz"}
INTERVAL = 1.0  # seconds; the shortest that the settings take
REQUESTS = 1000
RATIO = 0.01


class Silent:
    """A Probe that counts nothing."""

    def reported(self, _reason: Reason) -> None:
        """Implement Probe.reported."""

    def decided(self, _reason: Reason | None) -> None:
        """Implement Probe.decided."""

    def count(self, event: Event, times: int = 1) -> None:
        """Implement Probe.count."""


class Seen(Hot):
    """A door with metrics and, where it is asked for, traces, exported to `endpoint`."""

    def __init__(self, endpoint: str, *, traced: bool) -> None:
        counters = Counters()
        denials = Denials(1, time.monotonic)
        observer = Observer(counters, denials)
        super().__init__(counters, observer)
        where = Endpoint.parse("redis://127.0.0.1:1/0", "", None)
        feed = ChangeFeed(where, self.clock, counters, lease=1, fingerprints={})
        limits = SpendLink(where, self.clock, instance="bench", deadline=1)
        found = (feed, self.cache, self.checker.imported, limits, self.limiter, self.checker)
        parts = Parts([Partition(*found, Sightings())], self.checker, lambda: True)
        read = readings(counters, denials, parts, self.clock)
        self.metrics = Metrics(read, ABOUT, Push(endpoint, INTERVAL))
        self._traces = None
        if traced:
            self._traces = Traces(
                exporter(endpoint), time.monotonic, ABOUT, ratio=RATIO, rate=100_000
            )
            observer.trace(self._traces)

    def stop(self) -> None:
        """End the exporting threads."""
        self.metrics.stop()
        if self._traces:
            self._traces.stop()


def requests(hot: Hot, *, traced: bool) -> list[bytes]:
    """Requests of one key, with a traceparent of which one in a hundred is sampled, or without."""
    made, key = random.Random(1), hot.key
    found = []
    for number in range(REQUESTS):
        flags = "01" if number % round(1 / RATIO) == 0 else "00"
        trace = f"00-{made.getrandbits(128):032x}-{made.getrandbits(64):016x}-{flags}"
        headers = [*client_headers(key), *([("traceparent", trace)] if traced else [])]
        message = check_request(
            headers, method="POST", path="/v1/models", extensions={"scopes": "models:generate"}
        )
        found.append(message.SerializeToString())
    return found


def compare(
    plain: Callable[[bytes], object],
    seen: Callable[[bytes], object],
    raws: tuple[Sequence[bytes], Sequence[bytes]],
    seconds: float,
    clock: Callable[[], float],
) -> float:
    """How much longer `seen` takes: the median over many short turns of both."""
    ratios = []
    turns = itertools.cycle((False, True))
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        took = {}
        first = next(turns)  # so that neither is always the one behind the other
        for which in (first, not first):
            check, requests_ = (seen, raws[1]) if which else (plain, raws[0])
            began = clock()
            for raw in requests_:
                check(raw)
            took[which] = clock() - began
        ratios.append(took[True] / took[False])
    return statistics.median(ratios)


@contextlib.contextmanager
def good_receiver() -> Iterator[str]:
    """One in a process of its own."""
    command = [sys.executable, "-m", "tests.support.telemetry.receiver"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    """Where nobody listens."""
    yield f"http://127.0.0.1:{free_port()}"


def run(seconds: float) -> dict[str, dict[str, float]]:
    """Every comparison, each so long."""
    plain = Hot(Silent())
    cases = {
        "metrics": (good_receiver, False, time.thread_time),
        "metrics, hanging receiver": (black_hole, False, time.perf_counter),
        "metrics, refusing receiver": (refusing, False, time.perf_counter),
        "and traces": (good_receiver, True, time.thread_time),
        "and traces, hanging receiver": (black_hole, True, time.perf_counter),
    }
    found = {}
    for name, (receiver, traced, clock) in cases.items():
        with receiver() as endpoint:
            seen = Seen(endpoint, traced=traced)
            raws = requests(plain, traced=traced), requests(seen, traced=traced)
            assert isinstance(seen.door.check(raws[1][0]), bytes)
            began = time.perf_counter(), time.process_time() - time.thread_time()
            ratio = compare(plain.door.check, seen.door.check, raws, seconds, clock)
            others = time.process_time() - time.thread_time() - began[1]
            share = others / (time.perf_counter() - began[0])
            seen.stop()
        found[name] = {
            "ratio": round(ratio, 3),
            "limit": LIMITS[name],
            "exporting": round(share, 4),
        }
    return found


def main() -> None:
    """Measure, and say whether the figures are within their limits."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--seconds", type=float, default=20, help="for each comparison")
    offer_record(parser)
    given = parser.parse_args()
    found = run(given.seconds)
    if given.record:
        several = {
            name: [case["ratio"] for kind, case in found.items() if kind.startswith(begin)]
            for name, begin in {"metrics": "metrics", "traces": "and traces"}.items()
        }
        record({f"telemetry.{name}": ratios for name, ratios in several.items()})
        record({"telemetry.export": 100 * found["metrics"]["exporting"]})
        record({"telemetry.spans": 100 * found["and traces"]["exporting"]})
    good = all(case["ratio"] <= case["limit"] for case in found.values())
    if given.json:
        print(json.dumps({"cases": found, "within_limits": good, "machine": machine()}))
    else:
        for name, case in found.items():
            print(
                f"{name:30} {case['ratio']:6.3f} times  (limit {case['limit']:.2f}); "
                f"exporting takes {case['exporting']:.2%} of a core"
            )
        print(f"\n{machine()}")
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
