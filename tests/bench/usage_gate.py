"""The cost of usage in a Check on a cache hit: `python -m tests.bench.usage_gate`.

A whole Check, bytes to bytes, is measured beside one whose allow has no metadata for usage records:
no route, no units and no secret. Both in turn, many short rounds; the median of their ratios. The
charge id is in both: limits and logs need it, too.
"""

import argparse
import json

from authz.core.decision import Allow, Decision
from authz.core.request import Request
from authz.rpc.check.handler import CheckHandler, NullObserver
from authz.rpc.check.respond import _NOTHING, OF_TOKEN, Responder
from tests.bench.check_hot import Hot, measure
from tests.bench.figures import machine, number

LIMIT = 1.02  # of a Check without usage


class WithoutUsage(Responder):
    """A Responder whose allows have no metadata for usage records."""

    def write(self, decision: Decision, request: Request) -> bytes:
        """Return an allow as Responder.write does, step by step, but without `usage`."""
        if type(decision) is not Allow:
            return super().write(decision, request)
        entries = self._allows
        key, carrier, token = decision.key, request.carrier, request.token
        apart, asserts = _NOTHING if token is None else OF_TOKEN, request.route.assertion
        if asserts:
            apart = self._apart(key, request)
        name = (key.kid if key else "", carrier, apart)
        entry = entries.get(name)
        if entry is None or entry[0] is not key:
            return super().write(decision, request)
        if token is not None or asserts or key is None or entry[2] is not None:
            return super().write(decision, request)
        return entry[1] + b"%012x" % entry[3]()


def run(repeats: int, calls: int) -> dict[str, float]:
    """Return microseconds of a Check with and without usage, and their ratio.

    Both orders are measured, because what runs after another Check is up to 2 % slower.
    """
    hot = Hot()
    bare = WithoutUsage(
        header_prefix="x-auth-",
        removed_headers=("x-api-key",),
        find_keys=hot.extractor.find_keys,
    )
    other = CheckHandler(hot.extractor, hot.checker, bare, hot.probe, NullObserver())
    raw = hot.requests["map"]
    for _ in range(2):  # the first one fills the responders
        size = len(hot.door.check(raw)) - len(other.check(raw))
    if size <= 0:
        raise SystemExit("both Checks have the same metadata")
    steps = {"whole": lambda: hot.door.check(raw), "without": lambda: other.check(raw)}
    orders = (steps, dict(reversed(steps.items())))
    found = [measure(order, repeats, calls, unit="without") for order in orders]
    return {name: sum(each[name] for each in found) / len(found) for name in found[0]}


def main() -> None:
    """Measure, print, and exit with 1 if usage takes more than 2 %."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--number", type=int, default=100, help="calls a repeat")
    given = parser.parse_args()
    found = run(given.repeats, given.number)
    if given.json:
        print(json.dumps({"machine": machine(), "limit": LIMIT, "figures": found}))
    else:
        print(f"with usage {number(found['whole'])} us, without {number(found['without'])} us")
        print(f"{found['ratio']:.3f} of a Check without usage; the limit is {LIMIT}")
    raise SystemExit(found["ratio"] > LIMIT)


if __name__ == "__main__":
    main()
