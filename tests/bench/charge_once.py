"""The cost of requests that are charged once: `python -m tests.bench.charge_once`.

1. The store's processor time of the script, for one small limit: a request without a name, the
   first one of a name, and a retry; in turn.
2. The bytes that the store keeps for a name, without a budget and with one.
3. The sidecar's time to make a name.
"""

import argparse
import time
from statistics import median

from authz.core.limits.amounts import Amounts
from authz.core.limits.charge import SpendRequest, charge_for
from authz.core.limits.charge_once import RetryName, charged_once
from authz.core.request import ChargeOnce, Route
from authz.storage.limits.spend_script import SPEND, arguments
from authz.storage.schema import DEFAULT
from tests.bench.figures import machine, offer_record, record
from tests.spending.plans import make_terms
from tests.support.fakes import KID, make_request
from tests.support.real import Valkey

WITHIN_MS = 3_600_000
KINDS = ("without", "first", "retry")


def script_times(valkey: Valkey, rounds: int, number: int) -> dict[str, list[float]]:
    """Return the microseconds of a call of the script in the server, by kind and round."""
    client, sha = valkey.admin, valkey.admin.script_load(SPEND)
    charge = charge_for(make_terms("200000/min"), 1, int(time.time() * 1000))
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    made = 0
    for _ in range(rounds):
        for kind in KINDS:
            client.flushdb()
            calls = client.pipeline(transaction=False)
            for _ in range(number):
                # A name is good for 16 requests, so nearly all of the last kind are retries.
                made += kind == "first"
                once = RetryName(f"{made:022}", WITHIN_MS) if kind != "without" else None
                count, *words = arguments(charge, SpendRequest(1, once=once))
                calls.evalsha(sha, int(count), *words)
            client.config_resetstat()
            calls.execute()
            found[kind].append(client.info("commandstats")["cmdstat_evalsha"]["usec_per_call"])
    return found


def bytes_of_a_name(valkey: Valkey, *limits: str) -> int:
    """Return the bytes that the store keeps for a name that took from these limits."""
    charge = charge_for(make_terms(*limits), Amounts(1, 800), int(time.time() * 1000))
    once = RetryName("n" * 22, WITHIN_MS)
    count, *words = arguments(charge, SpendRequest(1, once=once))
    valkey.admin.eval(SPEND, int(count), *words)
    found = valkey.admin.memory_usage(DEFAULT.once(once.id))
    valkey.admin.flushdb()
    return found


def name_time(number: int) -> float:
    """Return the microseconds to make a name."""
    route = Route(charge_once=ChargeOnce(("idempotency-key",), WITHIN_MS))
    request = make_request(headers={"idempotency-key": "a" * 36}, route=route)
    times = []
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(number):
            charged_once(KID, request)
        times.append((time.perf_counter() - began) / number * 1e6)
    return median(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--number", type=int, default=2000, help="calls a round")
    offer_record(parser)
    given = parser.parse_args()
    with Valkey() as valkey:
        script = script_times(valkey, given.rounds, given.number)
        plain, budget = (
            bytes_of_a_name(valkey, *limits)
            for limits in (("200/min",), ("200/min", "90000/month,of=tokens"))
        )
    name = name_time(given.number)
    first, retry = (
        median(one / plain for one, plain in zip(script[kind], script["without"], strict=True))
        for kind in ("first", "retry")
    )
    if given.record:
        record(
            {
                "once.first": first,
                "once.retry": retry,
                "once.bytes": plain,
                "once.name": name,
            }
        )
    print(
        f"one limit, in the server: without a name {median(script['without']):.1f} us, with a new "
        f"one {first:.2f} times, a retry {retry:.2f} times\n"
        f"a name takes {plain} bytes, with a budget {budget}; the sidecar makes it in {name:.1f} us"
        f"\n{machine()}"
    )


if __name__ == "__main__":
    main()
