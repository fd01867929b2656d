"""`Verifier` and a real Check never disagree."""

import asyncio
from dataclasses import dataclass, replace

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from authz.core.decision import Allow, Deny, Reason
from authz.core.errors import Unavailable, Unreadable
from authz.core.keys.text import checksum
from authz.core.limits.key_limits import LimitPolicy
from authz.core.limits.limit import OnOutage
from authz.core.records import Secret, Status
from authz.flows.check import Checker
from authz.flows.limits.limit_report import LimitReports
from authz.flows.verify import CHECKS, Verdict, Verifier
from authz.rpc.check.build_request import check_request
from authz.rpc.check.extract import Extractor
from authz.storage.meta import KnownPeppers
from tests.support.fakes import KID, NOW, FakeClock, make_keyring, make_record
from tests.support.flows.verifying import DIGESTS, RECORDS, TEXTS, MemoryStore, word
from tests.support.limits import MemoryCounters, limits
from tests.support.rpc.door import Door
from tests.support.rpc.reading import CARRIERS, RING

FOREIGN = make_keyring("ak", "2").mint("live", KID).text  # a pepper that we do not have
OUTSIDER = make_keyring("ak", "3").mint("live", KID).text  # nor does the store
# Of these limits all is used, or nothing.
USED = {"second s unit": 10, "month month unit UTC": 1000}
AGREED = LimitPolicy(plans={"known": limits("300/min")})
PEPPERS = KnownPeppers(make_keyring("ak", "1", "2").fingerprints, RING.fingerprints)


def forged(text: str) -> str:
    """The key with another secret and a checksum that fits."""
    body = text[:40] + ("x" if text[40] != "x" else "y") + text[41:-6]
    return body + checksum(body)


KEYS = st.one_of(
    *[st.just(TEXTS[0])] * 4,
    st.sampled_from(
        [
            TEXTS[1],
            RING.mint("live").text,
            FOREIGN,
            OUTSIDER,
            forged(TEXTS[0]),
            TEXTS[0][:-1] + "!",
            TEXTS[0][:-1] + ("0" if TEXTS[0][-1] != "0" else "1"),
            TEXTS[0][:-1],
            TEXTS[0].upper(),
            f"{TEXTS[0]},{TEXTS[1]}",
            "a,b",
            "garbage",
            "",
        ]
    ),
)


@dataclass
class Asked:
    """One request, as both ways are told of it."""

    host: str
    peer: str
    origin: str
    scopes: frozenset[str]
    env: str | None
    auth: str = ""

    def message(self, text: str) -> bytes:
        """Return the CheckRequest that Envoy sends for this request with this key."""
        facts = {"scopes": " ".join(sorted(self.scopes)), "env": self.env or "", "auth": self.auth}
        return check_request(
            method="GET",
            host=self.host,
            path="/v1/models",
            peer=self.peer,
            headers={"x-api-key": text, "origin": self.origin},
            extensions={name: fact for name, fact in facts.items() if fact},
        )


ASKED = st.builds(
    Asked,
    host=st.sampled_from(["api.example.com"] * 3 + ["API.example.com:443", "evil.org", "a,b", ""]),
    peer=st.sampled_from(["203.0.113.7", "::ffff:203.0.113.7", "198.51.100.1", "", "x"]),
    origin=st.sampled_from(["", "null", "https://a.com", "https://x.a.com"]),
    scopes=st.frozensets(st.sampled_from(["a", "a:b", "b"]), max_size=2),
    env=st.one_of(st.none(), st.sampled_from(["live", "test"])),
    auth=st.sampled_from(["", "", "", "optional", "nonsense"]),
)


PLAIN = Asked("api.example.com", "203.0.113.7", "", frozenset(), None)


async def verified(found, text: str, asked: Asked) -> Verdict:
    """Return the verdict of the verifier as a word."""
    request = Extractor(RING, carriers=CARRIERS).read(asked.message(text))
    clock = FakeClock()
    reports = LimitReports(MemoryCounters(NOW, USED), AGREED, clock)
    return await Verifier(MemoryStore(found), PEPPERS, clock, reports).verify(request)


async def checked(found, text: str, asked: Asked) -> list[str]:
    """Return the words of two Checks: on a miss, and then on a hit."""
    door = Door()
    door.checker = Checker(door.cache, PEPPERS, door.clock, door.probe)
    door.compose()
    if found is not None:
        door.source.records[KID] = found
    message = asked.message(text)
    return [(await door.answer(message)).dynamic_metadata["reason"] for _ in range(2)]


@settings(max_examples=500)
@given(
    found=st.one_of(*[RECORDS] * 8, st.none(), st.just(Unreadable("garbled"))),
    text=KEYS,
    asked=ASKED,
)
@example(found=None, text="", asked=replace(PLAIN, auth="optional"))
@example(found=None, text="", asked=PLAIN)
@example(found=None, text=TEXTS[0], asked=replace(PLAIN, auth="nonsense"))
def test_they_never_disagree(found, text, asked):
    """The verifier and a Check agree for any record, key and request, on a miss and on a hit."""
    verdict = asyncio.run(verified(found, text, asked))
    event(word(verdict))
    assert asyncio.run(checked(found, text, asked)) == [word(verdict)] * 2


@given(found=RECORDS, text=KEYS, asked=ASKED)
def test_the_first_refusal_is_the_answer(found, text, asked):
    """Checks are told in their order, up to where there is nothing more to look at."""
    verdict = asyncio.run(verified(found, text, asked))

    assert list(verdict.results) == list(CHECKS[: len(verdict.results)])
    refusals = [reason for reason in verdict.results.values() if reason]
    decision = verdict.decision
    assert (decision.reason if isinstance(decision, Deny) else None) == next(iter(refusals), None)
    assert (verdict.record is not None) is (len(verdict.results) == len(CHECKS))


async def test_all_that_is_in_the_way_is_told():
    """Behind the first refusal the others are told, too."""
    record = make_record(
        secrets=(Secret("1", DIGESTS[0], "1", NOW),),
        status=Status.DISABLED,
        expires_at=NOW,
        allowed_hosts=("other.org",),
    )
    verdict = await verified(record, TEXTS[0], PLAIN)
    assert verdict.decision == Deny(Reason.DISABLED, record)
    assert {check: reason for check, reason in verdict.results.items() if reason} == {
        "status": Reason.DISABLED,
        "expiry": Reason.EXPIRED,
        "host": Reason.HOST_NOT_ALLOWED,
    }


async def test_who_has_not_proven_the_secret_is_denied_as_nobody():
    """A wrong secret is decided without the record, though the operator is shown it."""
    record = make_record(secrets=(Secret("1", DIGESTS[1], "1", NOW),))
    verdict = await verified(record, TEXTS[0], PLAIN)
    assert verdict.decision == Deny(Reason.WRONG_SECRET)
    assert verdict.record == record


async def test_a_good_key_is_allowed():
    """For a good key every check is reached and none refuses."""
    record = make_record(secrets=(Secret("1", DIGESTS[0], "1", NOW),))
    verdict = await verified(record, TEXTS[0], PLAIN)
    assert verdict == Verdict(Allow(record), dict.fromkeys(CHECKS), record)


async def test_an_imported_key_is_judged_by_its_alias():
    """An imported key is found under the digest of any pepper; other text is unknown."""
    ring = make_keyring("ak", "1", "2")
    text = "sk-0123456789abcdef"
    _, older = (digest for _, digest in ring.parse_imported(text).digests())
    record = make_record(secrets=(Secret("1", older, "1", NOW),))

    class Imports:
        """An ImportStore that holds one alias."""

        async def resolve_all(self, digests):
            """Implement ImportStore.resolve_all."""
            return [KID if older in known else None for known in digests]

    async def told(key):
        request = Extractor(ring, carriers=CARRIERS).read(PLAIN.message(key))
        clock = FakeClock()
        reports = LimitReports(MemoryCounters(NOW), AGREED, clock)
        verifier = Verifier(MemoryStore(record), PEPPERS, clock, reports, Imports())
        return await verifier.verify(request)

    assert await told(text) == Verdict(Allow(record), dict.fromkeys(CHECKS), record)
    assert (await told(text + "x")).results["known"] is Reason.UNKNOWN_KEY


async def test_a_record_that_cannot_be_read_says_why():
    """The caller is told `unavailable`; the operator, what is wrong."""
    verdict = await verified(Unreadable("record X: garbled"), TEXTS[0], PLAIN)
    assert verdict.decision == Deny(Reason.UNAVAILABLE)
    assert (verdict.fault, verdict.results["known"]) == ("record X: garbled", Reason.UNAVAILABLE)


async def test_a_store_that_is_gone_is_a_fault():
    """A store that is gone raises Unavailable, and no verdict is given."""
    with pytest.raises(Unavailable, match="down"):
        await verified(Unavailable("down"), TEXTS[0], PLAIN)


async def test_judge_and_examine_go_by_the_same_list():
    """`examine` and `judge` use the same list of checks."""
    record = replace(make_record(secrets=(Secret("1", DIGESTS[0], "1", NOW),)), env="test")
    verdict = await verified(record, TEXTS[0], replace(PLAIN, env="live"))
    assert verdict.results["environment"] is Reason.WRONG_ENVIRONMENT
    assert verdict.decision == Deny(Reason.WRONG_ENVIRONMENT, record)


@pytest.mark.parametrize(
    ("fields_of_record", "cost", "reason"),
    [
        ({"limits": limits("20/s")}, "1", None),
        ({"limits": limits("10/s")}, "1", Reason.RATE_LIMITED),
        ({"limits": limits("10/s")}, "0", None),
        ({"limits": limits("10/s,enforce=false")}, "1", None),
        ({"limits": limits("20/s")}, "11", Reason.RATE_LIMITED),
        ({"limits": limits("10/s", "1000/month")}, "1", Reason.QUOTA_EXCEEDED),
        ({"plan": "known"}, "1", None),
        ({"plan": "unknown"}, "1", Reason.UNAVAILABLE),
    ],
)
async def test_limits_are_looked_at(fields_of_record, cost, reason):
    """How they stand decides, and a request that costs nothing finds no limit."""
    record = make_record(secrets=(Secret("1", DIGESTS[0], "1", NOW),), **fields_of_record)
    request = Extractor(RING, carriers=CARRIERS).read(PLAIN.message(TEXTS[0]))
    request.route = replace(request.route, cost=int(cost))
    counters = MemoryCounters(NOW, USED)
    clock = FakeClock()
    reports = LimitReports(counters, AGREED, clock)
    verdict = await Verifier(MemoryStore(record), PEPPERS, clock, reports).verify(request)

    assert verdict.results["limits"] is reason
    assert isinstance(verdict.decision, Deny) is (reason is not None)
    assert len(counters.asked) == (cost != "0" and record.plan != "unknown")


@pytest.mark.parametrize("on_outage", [None, *OnOutage])
async def test_limits_that_cannot_be_read(on_outage):
    """The key goes by its word for an outage, and the operator is told what is wrong."""
    record = make_record(
        secrets=(Secret("1", DIGESTS[0], "1", NOW),), limits=limits("10/s"), on_outage=on_outage
    )
    request = Extractor(RING, carriers=CARRIERS).read(PLAIN.message(TEXTS[0]))
    counters = MemoryCounters(NOW, fault=Unreadable("GARBLED x y"))
    clock = FakeClock()
    reports = LimitReports(counters, AGREED, clock)
    verdict = await Verifier(MemoryStore(record), PEPPERS, clock, reports).verify(request)

    assert verdict.fault == "GARBLED x y"
    assert isinstance(verdict.decision, Deny) is (on_outage is OnOutage.DENY)
