"""The cost of an assertion on the hit path: `python -m tests.bench.assertions`.

Two doors with the same rule of a route, one of which asks for an assertion, in turn. `first` is a
Check that has to make one.
"""

import argparse
import statistics

from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

from authz.core.assertion import assertion_key_id
from authz.core.keys.keyring import Keyring
from authz.core.ports import Clock
from authz.core.routes import RouteTable
from authz.flows.assertions import AssertionSigner
from authz.identity.es256 import PrivateKey
from authz.rpc.check.assertion import AssertionHeaders
from authz.settings.routes import RouteRule
from tests.bench.check_hot import Hot
from tests.bench.figures import machine, offer_record, record
from tests.bench.tokens import microseconds, once
from tests.support.rpc.answers import headers_of

NAME = "x-auth-assertion"
MOST = 1.25  # a Check with an assertion beside one without


def hot(audience: str, late: list[int]) -> Hot:
    """Return a door whose one rule asks for an assertion, unless `audience` is empty.

    late: by how many ms its time is ahead.
    """

    def writer(ring: Keyring, clock: Clock) -> AssertionHeaders:
        key = PrivateKey.derived(ring.assertion_seeds[-1])
        key_id = assertion_key_id(key.x, key.y)
        signer = AssertionSigner("https://gate.example.com", key_id, key, clock)
        return AssertionHeaders(NAME, signer.sign, lambda: clock.wall_ms() + late[0])

    rule = RouteRule(path="/**", assertion=audience).rule()
    return Hot(rules=RouteTable([rule]), assertions=writer)


def run(repeats: int, number: int) -> dict[str, float]:
    """Return microseconds: processor time for the first two, the median of repeats in turn."""
    late = [0]
    plain, signing = hot("", late), hot("orders", late)
    doors = {"without": plain, "with": signing}
    requests = {name: door.request(door.key) for name, door in doors.items()}
    for name, door in doors.items():
        answer = CheckResponse.FromString(door.door.check(requests[name])).ok_response
        if (NAME in headers_of(answer)) is not (name == "with"):
            raise SystemExit(f"{name}: not the answer that is to be measured")
    taken: dict[str, list[float]] = {name: [] for name in (*doors, "first")}
    for _ in range(repeats):
        for name, door in doors.items():
            check, raw = door.door.check, requests[name]
            taken[name].append(microseconds(lambda check=check, raw=raw: check(raw), number))
        for _ in range(10):
            plain.door.check(requests["without"])
            late[0] += 60_000
            taken["first"].append(once(lambda: signing.door.check(requests["with"])))
    found = {name: statistics.median(values) for name, values in taken.items()}
    pairs = zip(taken["with"], taken["without"], strict=True)
    return found | {"ratio": statistics.median(one / other for one, other in pairs)}


def main() -> None:
    """Measure, and say whether the figure is within its limit."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--number", type=int, default=200, help="calls a repeat")
    offer_record(parser)
    given = parser.parse_args()
    found = run(given.repeats, given.number)
    for name in ("without", "with", "first"):
        print(f"{name:8} {found[name]:8.2f} us")
    print(f"with / without: {found['ratio']:.3f} (limit {MOST})")
    print(machine())
    if given.record:
        more = found["first"] - found["with"]
        record({"assertion.ratio": found["ratio"], "assertion.first": more})
    raise SystemExit(found["ratio"] > MOST)


if __name__ == "__main__":
    main()
