"""The detectors: what they find in synthetic keys, and what they do with odd values."""

import math
import struct
from array import array
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.errors import Unreadable
from authz.core.usage.anomalies import habits as state
from authz.core.usage.anomalies.features import Feature, Gap, Reason
from authz.core.usage.anomalies.habits import (
    AGE,
    DAY,
    HOUR,
    NETWORKS,
    SIZE,
    VARIANCE,
    VERSION,
    fresh,
    move_on,
    pack,
    unpack,
)
from authz.core.usage.anomalies.judging import Callers, Hour, callers, judge
from authz.core.usage.anomalies.policy import AlarmPolicy, Rule, RuleAction, Subjects
from authz.core.usage.anomalies.ranking import Anomaly, Risk, decoded, encoded, ranking
from authz.core.usage.anomalies.sightings import KEPT, MOST, Sightings
from tests.support.anomalies import detectors, leaks, rates
from tests.support.fakes import make_record

KID, OTHER = "A" * 16, "B" * 16
ONE = Callers(1, has_new=False, gap=None)


@pytest.fixture(scope="module")
def sample():
    """400 keys with six weeks of hours."""
    return rates.keys(400, seed=7)


def test_rate(sample):
    """Of the anomalies at least 0.80 are found, with at most 0.01 false alarms a key and week."""
    found = rates.score(sample, detectors.rate)
    assert found.recall >= 0.80
    assert found.false_alarms <= 0.01
    assert min(found.there.values()) > 20


def test_rate_without_seasons(sample):
    """A detector that does not know the time of the day and the day of the week fails."""
    found = rates.score(sample, detectors.rate_without_seasons)
    assert found.recall < 0.80
    assert found.false_alarms > 0.01


def test_spread():
    """Of the leaks at least 0.65 are found, with at most 0.002 false alarms a key and week."""
    found = leaks.score(leaks.keys(90, seed=5), detectors.spread)
    assert found.recall >= 0.65
    assert found.false_alarms <= 0.002
    assert min(found.there.values()) >= 5


def learned(hours=400, requests=100, denied=0, errors=0, networks=ONE):
    """Return the habits of a key that had the same hour again and again."""
    habits = fresh(1000)
    for hour in range(1000, 1000 + hours):
        reasons, _ = judge(habits, hour, Hour(requests, denied, errors, networks, ONE))
        assert reasons == []
    return habits


def test_features_of_one_hour():
    """Each difference is a reason of its own."""
    new = Callers(2, has_new=True, gap=None)
    reasons, gaps = judge(learned(), 1400, Hour(1000, 500, 400, new, new))
    assert {one.feature for one in reasons} == set(Feature) - {Feature.SILENCE}
    assert gaps == {}
    assert all(one.strength >= 1 for one in reasons)


def test_silence():
    """Hours without requests are an anomaly after a while; their callers are not judged."""
    habits = learned()
    found = [judge(habits, 1400 + hour, Hour()) for hour in range(12)]
    assert [[r.feature for r in reasons] for reasons, _ in found].count([Feature.SILENCE]) == 1
    assert all(gaps == {} for _, gaps in found)


def test_a_new_key_is_not_judged():
    """Without history nothing is judged, and the gaps say so."""
    habits = fresh(5)
    reasons, gaps = judge(habits, 5, Hour(10**6, 10**6, 0, ONE, ONE))
    assert reasons == []
    assert gaps == {
        Feature.RATE: Gap.HISTORY,
        Feature.NETWORKS: Gap.HISTORY,
        Feature.AGENTS: Gap.HISTORY,
    }


def test_many_callers_say_nothing():
    """A key with many usual networks is not judged by them."""
    many = Callers(11, has_new=True, gap=None)
    _, gaps = judge(learned(networks=many), 1400, Hour(100, 0, 0, many, ONE))
    assert gaps == {Feature.NETWORKS: Gap.MANY}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], Callers()),
        (["10.0.0.0/24", "192.168.1.0/24", "100.64.0.0/24"], Callers(gap=Gap.PRIVATE)),
        (["10.0.0.0/24", "9.9.9.0/24"], Callers(1, has_new=True, gap=None)),
        (["2a00:1450:4001::/48"], Callers(1, has_new=True, gap=None)),
    ],
)
def test_networks_that_say_nothing(names, expected):
    """Only networks of the public internet count: others are those of proxies and NAT."""
    sightings = Sightings()
    sightings.see(7, names)
    assert callers(sightings, 7, Feature.NETWORKS) == expected


def test_a_key_that_was_away():
    """After more than a day without a judgement, the history of its callers begins again."""
    habits = learned()
    new = Callers(2, has_new=True, gap=None)
    _, gaps = judge(habits, 1400 + 25, Hour(100, 0, 0, new, ONE))
    assert gaps == {Feature.NETWORKS: Gap.HISTORY, Feature.AGENTS: Gap.HISTORY}
    move_on(habits, 1400 + 25 + 24 * 30)
    assert max(habits[state.NETWORKS : SIZE]) == 0


def test_few_requests_have_no_share():
    """A share of fewer than 20 requests is not judged."""
    reasons, _ = judge(learned(requests=19), 1400, Hour(19, 19, 0, ONE, ONE))
    assert reasons == []


@given(st.lists(st.tuples(st.integers(0, 2**53), st.integers(0, 30)), min_size=1, max_size=60))
def test_any_numbers(hours):
    """Habits stay finite whatever the numbers are, and are stored exactly."""
    habits = fresh(490_000)
    for number, (requests, callers_) in enumerate(hours):
        several = Callers(callers_, has_new=True, gap=None)
        judge(habits, 490_000 + number, Hour(requests, requests // 2, requests // 3, several))
    assert all(map(math.isfinite, habits))
    assert habits[HOUR] == 490_000 + len(hours) - 1
    assert habits[AGE] == len(hours)
    assert unpack(pack(habits)) == habits


@pytest.mark.parametrize(
    "data", [b"", b"x", bytes(SIZE * 4), pack(fresh(1))[:-1], b"\xff" * (SIZE * 4)]
)
def test_habits_that_are_damaged(data):
    """Other bytes are refused."""
    with pytest.raises(Unreadable):
        unpack(data)


@given(
    numbers=st.lists(st.binary(min_size=4, max_size=4), min_size=SIZE - 1, max_size=SIZE - 1)
    | st.lists(
        st.floats(0.0, width=32).map(struct.Struct("<f").pack), min_size=SIZE - 1, max_size=SIZE - 1
    )
)
def test_habits_of_sound_numbers_are_read(numbers):
    """Bytes are habits if each number is 0 or more, and finite; variance and profile are not 0."""
    data = struct.pack("<f", VERSION) + b"".join(numbers[: SIZE - 1])
    found = struct.unpack(f"<{SIZE}f", data)
    is_sound = all(0.0 <= one < math.inf and math.copysign(1.0, one) > 0.0 for one in found)
    try:
        assert unpack(data) == array("f", found)
    except Unreadable:
        assert not is_sound or not all((found[VARIANCE], *found[DAY:NETWORKS]))
    else:
        assert is_sound
        assert all((found[VARIANCE], *found[DAY:NETWORKS]))


@given(
    at=st.lists(st.integers(1, SIZE - 1), min_size=1, max_size=9),
    number=st.sampled_from([math.nan, math.inf, -math.inf, -1.0, 0.0, 1e-44, 1.0, 3e38]),
    age=st.sampled_from([0.0, 30.0, 400.0]),
)
def test_garbled_numbers(at, number, age):
    """Habits with any numbers are judged or cannot be read: no key stops the judgement of all."""
    garbled = fresh(490_000)
    garbled[AGE] = age
    for place in at:
        garbled[place] = number
    for hour in range(490_001, 490_030):
        try:
            found = unpack(pack(garbled))
        except Unreadable:
            return
        if found[HOUR] >= hour:
            return
        encoded(judge(found, hour, Hour(50, 5, 5, Callers(2, True, None), ONE))[0])
        garbled = found


@given(st.lists(st.tuples(st.integers(0, 7), st.sampled_from("abcdef")), max_size=40))
def test_sightings_in_another_order(seen):
    """The order in which the hours of few callers come does not matter."""
    one, other = Sightings(), Sightings()
    for hour, name in seen:
        one.see(hour, [name])
    for hour, name in sorted(seen):
        other.see(hour, [name])
    assert one.seen == other.seen
    for hour in range(8):
        assert sorted(one.at(hour)) == sorted({name for at, name in seen if at == hour})


def test_sightings_are_bounded():
    """At most 16 new callers of an hour are kept, and 40 in all; the oldest ones make room."""
    sightings, draw = Sightings(), Random(3)
    for hour in range(20):
        sightings.see(hour, {f"{hour} {draw.randrange(10**6)}" for _ in range(1000)})
        assert len(sightings.at(hour)) == MOST
        assert len(sightings.seen) <= KEPT
    assert min(seen.last for seen in sightings.seen.values()) >= 17


def test_ranking():
    """Two features come before one, however strong; then the score decides."""
    rate, networks = Reason(Feature.RATE, 90, 10, 50), Reason(Feature.NETWORKS, 2, 1, 1)
    weak = Reason(Feature.RATE, 20, 10, 1.5)
    found = ranking(
        [
            Anomaly(OTHER, 7, (rate,)),
            Anomaly(KID, 3, (weak,)),
            Anomaly(KID, 9, (networks, weak._replace(strength=2))),
        ]
    )
    assert [(one.kid, one.risk, one.score) for one in found] == [
        (KID, Risk.HIGH, 3),
        (OTHER, Risk.ELEVATED, 10),
    ]
    assert (found[0].first, found[0].last) == (3, 9)


@given(
    st.lists(
        st.builds(Reason, st.sampled_from(Feature), *[st.integers(0, 99_999).map(float)] * 3),
        min_size=1,
    )
)
def test_reasons_as_text(reasons):
    """Reasons are read back as they were."""
    assert list(decoded(encoded(reasons))) == reasons


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", "null", "[" * 10_000, '[["rate"]]', '[["rate",1,2,-3]]', '[["x",1,2,3]]'),
        *('[["rate",1,2,NaN]]', '[["rate",1,2,1e999]]', '[["rate","x",2,3]]', '[["rate",1,2,3,4]]'),
    ],
)
def test_reasons_that_are_damaged(text):
    """Other text is refused with ValueError."""
    with pytest.raises(ValueError):  # noqa: PT011
        decoded(text)


def test_clients_of_one_tenant():
    """Two tenants may have clients of one id: `within` names the keys of one of them."""
    ours, theirs = (make_record(client_id="web", tenant_id=one) for one in ("acme", "evil"))
    anyone, named = Subjects(clients={"web"}), Subjects(clients={"web"}, within={"acme"})
    assert (anyone.include(ours), anyone.include(theirs)) == (True, True)
    assert (named.include(ours), named.include(theirs)) == (True, False)
    assert not named.include(make_record(client_id="web"))
    assert not Subjects(within={"acme"}).include(ours)


def test_policy():
    """Nothing happens to a key that the settings do not name; a rule needs all of its features."""
    rule = Rule(
        "stolen",
        frozenset({Feature.RATE, Feature.NETWORKS}),
        Subjects(plans={"gold"}),
        RuleAction.DISABLE,
    )
    policy = AlarmPolicy(Subjects(tenants={"acme"}), (rule,))
    named, gold = make_record(tenant_id="acme"), make_record(plan="gold")
    both = dict.fromkeys([Feature.RATE, Feature.NETWORKS, Feature.DENIED])
    assert policy.watches(named)
    assert policy.watches(gold)
    assert not policy.watches(make_record())
    assert policy.rule_for(gold, both) == rule
    assert policy.rule_for(gold, dict.fromkeys([Feature.RATE])) is None
    assert policy.rule_for(named, both) is None
