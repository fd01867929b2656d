"""`Verifier` and a real Check agree on limits, too, as they fill up and empty again."""

import asyncio

from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from authz.core.events import Event
from authz.core.limits.key_limits import LimitPolicy
from authz.core.limits.memory_counters import MemoryCounters
from authz.core.records import Secret
from authz.flows.check import Checker
from authz.flows.limits.limit_report import LimitReports
from authz.flows.limits.limiter import Limiter
from authz.flows.verify import Verifier
from authz.rpc.check.build_request import check_request
from authz.storage.meta import KnownPeppers
from tests.support.fakes import KID, make_record
from tests.support.flows.verifying import DIGESTS, TEXTS, MemoryStore, word
from tests.support.limits import limits
from tests.support.rpc.door import Door
from tests.support.rpc.reading import RING

PEPPERS = KnownPeppers(RING.fingerprints, RING.fingerprints)
AGREED = LimitPolicy(
    plans={"small": limits("2/s", "4/min")}, tenants={"shared": limits("9/min", "30/month")}
)

# Too small for leases: of what a sidecar holds in advance nobody else knows.
LIMITS = st.lists(
    st.sampled_from(
        [
            "3/s",
            "7/min",
            "10/h,burst=2",
            "20/d,cost_of=request",
            "try=5/min,enforce=false",
            "12/calendar-day",
            "15/month@15",
        ]
    ),
    unique=True,
)
# What a request costs, and the seconds before it. All of them are sums of eighths: no rounding.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["", "", "0", "1", "2", "3", "11"]),
        st.sampled_from([0, 0, 0, 0.125, 1, 1.25, 20, 61, 3700, 90_000]),
    ),
    min_size=1,
    max_size=30,
)


class Counters:
    """The counters of everybody, as a sidecar spends from them and as the verifier looks."""

    is_open = True

    def __init__(self, clock) -> None:
        self._ledger = MemoryCounters()
        self._clock = clock

    def _ask(self, charge, wanted):
        return self._ledger.spend(charge, wanted, self._clock.wall_ms() * 1000)

    async def look(self, charge):
        """Implement LimitCounters.look."""
        return self._ask(charge, 0)

    async def spent(self, _charge):
        return []

    async def leases(self, accounts, _now):
        """Implement LimitCounters.leases. Nobody holds one."""
        return [[] for _ in accounts]

    def spend(self, charge, ask, deliver):
        """Implement SpendStore.spend."""
        asyncio.get_running_loop().call_soon(deliver, self._ask(charge, ask.wanted))


REFUSALS = {"rate_limited", "quota_exceeded"}


async def told(record, steps) -> list[tuple[str, str]]:
    """Return the words of the verifier before each request, and of the Check of it.

    A sidecar repeats a refusal until the request can pass, though another limit may be in the way
    by then, too: of such an answer it is only said that it is a refusal.
    """
    door = Door()
    counters = Counters(door.clock)
    limiter = Limiter(counters, AGREED, door.clock, door.probe, max_keys=10)
    door.checker = Checker(door.cache, PEPPERS, door.clock, door.probe, limiter=limiter)
    door.compose()
    door.source.records[KID] = record
    reports = LimitReports(counters, AGREED, door.clock)
    verifier = Verifier(MemoryStore(record), PEPPERS, door.clock, reports)
    found = []
    for cost, pause in steps:
        door.clock.advance(pause)
        message = check_request(
            method="GET",
            host="api.example.com",
            path="/",
            peer="203.0.113.7",
            headers={"x-api-key": TEXTS[0]},
            extensions={"cost": cost} if cost else {},
        )
        foreseen = word(await verifier.verify(door.extractor.read(message)))
        repeated = door.probe.events[Event.LIMIT_DENIED_LOCALLY]
        came = (await door.answer(message)).dynamic_metadata["reason"]
        if door.probe.events[Event.LIMIT_DENIED_LOCALLY] > repeated and foreseen in REFUSALS:
            foreseen = came
        found.append((foreseen, came))
    return found


@settings(max_examples=300)
@given(
    texts=LIMITS, plan=st.sampled_from(["", "small"]), tenant=st.sampled_from(["", "shared"]),
    steps=STEPS,
)  # fmt: skip
@example(texts=["3/s"], plan="", tenant="", steps=[("3", 0), ("", 0), ("", 1.25)])
@example(texts=["15/month@15"], plan="", tenant="", steps=[("11", 0), ("11", 0)])
def test_they_never_disagree(texts, plan, tenant, steps):
    """For any limits, costs and pauses, what is foreseen is what comes; looking takes nothing."""
    record = make_record(
        secrets=(Secret("1", DIGESTS[0], "1", 0),),
        limits=limits(*texts),
        plan=plan,
        tenant_id=tenant,
        expires_at=None,
    )
    found = asyncio.run(told(record, steps))
    for _, came in found:
        event(came)
    assert [came for _, came in found] == [foreseen for foreseen, _ in found]
