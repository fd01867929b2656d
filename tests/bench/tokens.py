"""The cost of a token on the hit path, of its first sight, and of forged ones.

`python -m tests.bench.tokens`: bytes to bytes, as check_hot, and each beside a key in the same run.
"""

import argparse
import statistics
import time
import timeit
from collections.abc import Callable
from itertools import count
from typing import Any

from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

from authz.core.keys.keyring import Keyring
from authz.core.ports import Clock
from authz.core.store_clock import StoreClock
from authz.core.tokens import text
from authz.core.tokens.rights import Expected
from authz.flows.tokens.gate import TokenGate
from authz.identity.es256 import verifier
from authz.telemetry import Counters
from tests.bench.check_hot import Hot
from tests.bench.figures import machine, offer_record, record
from tests.support.tokens import (
    AUDIENCE,
    ISSUER,
    KEY_ID,
    PRIVATE,
    Entries,
    claims_of,
    issue,
    signing_key,
)

# A token beside a key, and a first sight beside its signature.
MOST = {"hit": 1.15, "first": 1.85}
_IDS = count()


def gate(ring: Keyring, clock: Clock) -> TokenGate:
    """Return a gate as the sidecar composes it."""
    entry = ring.signing_entries.write(signing_key(signs_from=0))
    store_clock = StoreClock(120.0)  # one heartbeat is enough for a run
    store_clock.measured(clock.wall_ms(), clock.monotonic(), clock.monotonic())
    return TokenGate(
        Entries({KEY_ID: entry}),
        ring.signing_entries,
        verifier,
        tags=ring.token_tags,
        expected=Expected(ISSUER, (AUDIENCE,)),
        clock=clock,
        probe=Counters(),
        rate=10_000_000,
        max_entries=100_000,
        store_clock=store_clock,
    )


def token(hot: Hot) -> str:
    """Return a new token of the key for 15 minutes."""
    now = hot.clock.wall_ms() // 1000
    given = claims_of(
        hot.record,
        issued_at=now,
        not_before=now,
        expires_at=now + 900,
        token_id=f"1{next(_IDS):015}",
    )
    return issue(hot.ring, given, PRIVATE)


def run(repeats: int, number: int) -> dict[str, float]:
    """Return microseconds of processor time, each the median of many short repeats in turn."""
    hot = Hot(gate=gate)
    good = token(hot)
    head, body, signature = good.split(".")
    forged = f"{head}.{body[:-8]}{body[-8:-6].swapcase()}{body[-6:]}.{signature}"
    requests = {
        "key": hot.request(hot.key),
        "hit": hot.request(good),
        "forged": hot.request(forged),
    }
    for name in ("key", "hit"):
        answer = CheckResponse.FromString(hot.door.check(requests[name]))
        if not answer.HasField("ok_response"):
            raise SystemExit(f"{name}: not an allow from the cache")
    taken: dict[str, list[float]] = {name: [] for name in (*requests, "first", "signature")}
    signed, _, last = good.rpartition(".")
    checked = (signed.encode(), text.decoded(last))
    verify = verifier(PRIVATE.x, PRIVATE.y)
    for _ in range(repeats):
        for name, raw in requests.items():
            taken[name].append(microseconds(lambda raw=raw: hot.door.check(raw), number))
    for raw in [hot.request(token(hot)) for _ in range(repeats * 20)]:
        steps = {
            "first": lambda raw=raw: hot.door.check(raw),
            "signature": lambda: verify(*checked),
        }
        for name, step in steps.items():
            for _ in range(5):  # the processor's caches are those of a sidecar at work for both
                hot.door.check(requests["key"])
            taken[name].append(once(step))
    found = {name: statistics.median(values) for name, values in taken.items()}
    pairs = zip(taken["hit"], taken["key"], strict=True)
    ratio = statistics.median(hit / key for hit, key in pairs)
    return found | {"ratio": ratio, "sight": found["first"] / found["signature"]}


def microseconds(step: Callable[[], Any], number: int) -> float:
    """Return the microseconds of processor time of a call, over `number` calls."""
    return timeit.timeit(step, timer=time.process_time, number=number) / number * 1e6


def once(step: Callable[[], Any]) -> float:
    """Return the microseconds of one call, which cannot be repeated."""
    began = time.perf_counter_ns()
    step()
    return (time.perf_counter_ns() - began) / 1000


def main() -> None:
    """Measure, and say whether the figures are within their limits."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--number", type=int, default=200, help="calls a repeat")
    offer_record(parser)
    given = parser.parse_args()
    found = run(given.repeats, given.number)
    for name in ("key", "hit", "forged", "first", "signature"):
        print(f"{name:10} {found[name]:8.2f} us")
    print(f"a cached token / a key: {found['ratio']:.3f} (limit {MOST['hit']})")
    print(f"first sight / its signature: {found['sight']:.3f} (limit {MOST['first']})")
    print(machine())
    if given.record:
        record({f"tokens.{name}": found[name] for name in ("ratio", "sight", "first", "forged")})
    raise SystemExit(found["ratio"] > MOST["hit"] or found["sight"] > MOST["first"])


if __name__ == "__main__":
    main()
