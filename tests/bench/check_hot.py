"""The cost of a decision on a cache hit, bytes to bytes: `python -m tests.bench.check_hot`.

The figure is a ratio: the decision divided by protobuf's parsing of the same bytes, as a whole
CheckRequest, in the same run. A ratio of two things measured side by side says the same on a slow
and on a busy machine. The parse inside of the decision reads fewer fields, and raw headers not at
all, so it would be no measure.
"""

import argparse
import asyncio
import ipaddress
import json
import statistics
import time
import timeit
from collections.abc import Callable
from typing import Any

from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse

from authz.core.keys.keyring import Keyring
from authz.core.limits.charge import SpendReply
from authz.core.limits.key_limits import LimitPolicy
from authz.core.policy import judge
from authz.core.ports import CheckObserver, Clock, Probe
from authz.core.routes import RouteTable
from authz.core.store_clock import StoreClock
from authz.flows.check import Checker
from authz.flows.imported import ImportedKeys
from authz.flows.limits.limiter import Limiter
from authz.flows.tokens.gate import TokenGate
from authz.process.clock import SystemClock
from authz.rpc.check.assertion import AssertionHeaders
from authz.rpc.check.extract import Extractor
from authz.rpc.check.handler import CheckHandler, NullObserver
from authz.rpc.check.respond import Responder
from authz.rpc.pb.check.v1.check_view_pb2 import CheckView
from authz.settings.abuse import Abuse
from authz.telemetry import Counters
from tests.bench.figures import machine, offer_record, record
from tests.support.caches import filled
from tests.support.fakes import MemoryAliasSource, MemoryDigests, issue_record, make_keyring
from tests.support.rpc.door import OurPeppers
from tests.support.rpc.messages import PEER, check_request
from tests.support.tokens import ISSUER

LIMITS = {"map": 4.8, "raw": 8.0}
DAY_SECONDS = 86_400
STEPS = ("parse", "peek", "digest", "judge", "write")


def client_headers(key: str) -> list[tuple[str, str]]:
    """The headers of a browser's fetch behind an edge Envoy."""
    return [
        (":authority", "api.example.com"),
        (":method", "POST"),
        (":path", "/v1/models/gemini-pro:generateContent?alt=json"),
        (":scheme", "https"),
        ("accept", "application/json, text/event-stream"),
        ("accept-encoding", "gzip, deflate, br"),
        ("accept-language", "en-GB,en;q=0.9,de;q=0.8"),
        ("content-length", "321"),
        ("content-type", "application/json"),
        ("origin", "https://app.example.com"),
        ("referer", "https://app.example.com/chat"),
        ("sec-fetch-mode", "cors"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        ("x-api-key", key),
        ("x-client-version", "web-2025.11.3"),
        ("x-envoy-external-address", PEER),
        ("x-envoy-internal", "false"),
        ("x-forwarded-for", PEER),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "3b0a7c9e-7b51-4f3a-9c1e-9d6f0a1b2c3d"),
    ]


class Granting:
    """A SpendStore that grants everything."""

    is_open = True

    def spend(self, charge, ask, deliver):
        """Implement SpendStore.spend."""
        left = tuple(counter.limit for counter in charge.counters)
        receipt = SpendReply(ask.wanted, time.time_ns() // 1000, left, (0,) * len(left))
        asyncio.get_running_loop().call_soon(deliver, receipt)


class Hot:
    """The door as the sidecar composes it, its cache filled with one key."""

    def __init__(
        self,
        probe: Probe | None = None,
        observer: CheckObserver | None = None,
        *,
        gate: Callable[[Keyring, Clock], TokenGate] | None = None,
        rules: RouteTable | None = None,
        assertions: Callable[[Keyring, Clock], AssertionHeaders] | None = None,
        **fields: Any,
    ) -> None:
        """Make it.

        gate: makes the acceptance of tokens. rules: of routes. assertions: makes their writer.
        fields: of the key's record, beside those below.
        """
        ring = make_keyring(issuer=ISSUER if gate else "")
        clock, self.probe, self.ring = SystemClock(), probe or Counters(), ring
        now = clock.wall_ms()
        store_clock = StoreClock(lease=DAY_SECONDS)  # the one heartbeat is enough for a run
        store_clock.measured(now, clock.monotonic(), clock.monotonic())
        self.record, self.key = issue_record(
            ring,
            created_at=now,
            expires_at=now + 90 * 86_400_000,
            project_id="search",
            tenant_id="acme",
            scopes=frozenset({"models:generate", "models:read", "files:*"}),
            allowed_cidrs=(
                ipaddress.ip_network("10.0.0.0/8"),
                ipaddress.ip_network("203.0.113.0/24"),
            ),
            **fields,
        )
        self.clock = clock
        self.cache = asyncio.run(filled([self.record], clock, self.probe))
        carriers = ("x-api-key:", "authorization:bearer")
        self.extractor = Extractor(ring, carriers=carriers, rules=rules)
        imported = ImportedKeys(
            MemoryAliasSource(),
            self.cache,
            clock,
            self.probe,
            known=MemoryDigests(),
            rate=1000,
            negative_ttl=5,
            max_entries=10,
            max_negatives=10,
            deadline=1,
        )
        self.limiter = Limiter(Granting(), LimitPolicy(), clock, self.probe, max_keys=10)
        self.checker = Checker(
            self.cache,
            OurPeppers(),
            clock,
            self.probe,
            imported,
            limiter=self.limiter,
            store_clock=store_clock,
            tokens=gate(ring, clock) if gate else None,
            failures=Abuse().buckets(),
        )
        self.responder = Responder(
            header_prefix="x-auth-",
            removed_headers=("x-api-key",),
            find_keys=self.extractor.find_keys,
            assertions=assertions(ring, clock) if assertions else None,
        )
        self.door = CheckHandler(
            self.extractor, self.checker, self.responder, self.probe, observer or NullObserver()
        )
        self.requests = {form: self.request(self.key, form) for form in LIMITS}

    def request(self, credential: str, form: str = "map") -> bytes:
        """The serialised request with this key or token."""
        return check_request(
            client_headers(credential),
            raw_headers=form == "raw",
            method="POST",
            path="/v1/models/gemini-pro:generateContent?alt=json",
            extensions={"scopes": "models:generate"},
        ).SerializeToString()

    def steps(self, form: str) -> dict[str, Callable[[], Any]]:
        """The whole decision, and each step alone."""
        raw = self.requests[form]
        request = self.extractor.read(raw)
        presented = request.credential
        decision = self.checker.check(request)
        return {
            "parse": lambda: CheckView.FromString(raw),
            "by protobuf": lambda: CheckRequest.FromString(raw),
            "whole": lambda: self.door.check(raw),  # beside what it is divided by
            "parse and extract": lambda: self.extractor.read(raw),
            "peek": lambda: self.cache.peek(self.record.kid),
            "digest": presented.digest,
            "judge": lambda: judge(self.record, presented, request, self.clock.wall_ms()),
            "decide": lambda: self.checker.check(request),
            "write": lambda: self.responder.write(decision, request),
        }


def measure(
    steps: dict[str, Callable[[], Any]], repeats: int, number: int, *, unit: str = "by protobuf"
) -> dict[str, float]:
    """Microseconds of processor time a call: the median of many short repeats of every step.

    Also the `ratio` of the step "whole" to the step `unit`.
    Time in which another process had the processor does not count; a moment in which the machine
    was slow slows both sides of a ratio, or is not the median.
    """
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            taken[name].append(_microseconds(step, number))
    found = {name: statistics.median(values) for name, values in taken.items()}
    pairs = zip(taken["whole"], taken[unit], strict=True)
    return found | {"ratio": statistics.median(whole / one for whole, one in pairs)}


def _microseconds(step: Callable[[], Any], number: int) -> float:
    return timeit.timeit(step, timer=time.process_time, number=number) / number * 1e6


def run(repeats: int, number: int) -> dict[str, Any]:
    """Measure both header forms."""
    hot = Hot()
    forms: dict[str, Any] = {}
    for form, limit in LIMITS.items():
        answer = hot.door.check(hot.requests[form])
        if not isinstance(answer, bytes) or not CheckResponse.FromString(answer).HasField(
            "ok_response"
        ):
            raise SystemExit("the request to be measured is not an allow from the cache")
        taken = measure(hot.steps(form), repeats, number)
        forms[form] = {
            "ratio": round(taken.pop("ratio"), 2),
            "limit": limit,
            "bytes": len(hot.requests[form]),
            "microseconds": {name: round(value, 3) for name, value in taken.items()},
        }
    return {"machine": machine(), "forms": forms}


def published_of(forms: dict[str, Any]) -> dict[str, float]:
    """Return the published figures: the ratios, and the steps with the headers as a map."""
    taken = forms["map"]["microseconds"]
    steps = {f"step.{name}": taken[name] for name in STEPS}
    steps["step.extract"] = taken["parse and extract"] - taken["parse"]
    steps["step.around"] = taken["whole"] - sum(
        taken[name] for name in ("parse and extract", "decide", "write")
    )
    return {f"check_hot.{name}": form["ratio"] for name, form in forms.items()} | steps


def main() -> None:
    """Measure, and say whether the figures are within their limits."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--number", type=int, default=200, help="calls a repeat")
    offer_record(parser)
    given = parser.parse_args()
    found = run(given.repeats, given.number)
    if given.record:
        record(published_of(found["forms"]))
    good = all(form["ratio"] <= form["limit"] for form in found["forms"].values())
    if given.json:
        print(json.dumps(found | {"within_limits": good}))
    else:
        show(found)
    raise SystemExit(0 if good else 1)


def show(found: dict[str, Any]) -> None:
    """The ratios first, then where the time goes."""
    forms = found["forms"]
    for name, form in forms.items():
        print(
            f"decision / protobuf, {name + ' headers:':13} {form['ratio']:5.2f}  "
            f"(limit {form['limit']:g}, {form['bytes']} bytes)"
        )
    print(f"\nmicroseconds a call, median{'':6}" + "".join(f"{name:>8}" for name in forms))
    for step in next(iter(forms.values()))["microseconds"]:
        values = (form["microseconds"][step] for form in forms.values())
        print(f"  {step:31}" + "".join(f"{value:8.2f}" for value in values))
    print(f"\n{found['machine']}")


if __name__ == "__main__":
    main()
