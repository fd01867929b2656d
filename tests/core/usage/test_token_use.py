"""Log entries with tokens: their counts, their cost, and the settlement of budgets."""

import pytest

from authz.core.limits.key_limits import LimitGroup, Owner
from authz.core.usage.commit import Budget, OnceUse, Settlement
from authz.core.usage.counts import Counts, Field, added
from authz.core.usage.entry import Cause
from authz.core.usage.tally import Clocks
from tests.support.usage import KID, MINUTE, committed, line, tallied

ENDS = 1_801_440_000_000
COUNTER = "tokens-month month tokens UTC"
SETTLE = "1,1,0,0,0;v1,1000000,2000000,500000,1000000,2000000,3"
TAKEN = f"k!800!{ENDS}!tokens-month~month~tokens~UTC"
POOLS = f"{TAKEN};p!900!{ENDS}!usd-month~month~usd~UTC;t!800!{ENDS}!tokens-month~month~tokens~UTC"


def entry(tokens="-", reserved=TAKEN, **fields):
    """One entry of version 4."""
    usual = {"version": "4", "model": "mini", "settle": SETTLE}
    return line(**usual | {"tokens": tokens, "reserved": reserved} | fields)


def own():
    """The budget of the key."""
    return Budget(LimitGroup(Owner.KEY, KID, ()), ENDS, COUNTER)


def row(commit):
    """The counts of the key."""
    found = list(commit.keys[KID].rows[MINUTE, "models"])
    added(found, [0] * len(Field))
    return Counts(tuple(found))


def test_tokens_and_their_cost():
    """Tokens are added up by kind, and the cost of each request is rounded up alone."""
    commit = committed(entry("complete:100:50:10:20:5"), entry("complete:1:0:0:0:0"), entry())
    counts = row(commit)
    kinds = (Field.INPUT_TOKENS, Field.OUTPUT_TOKENS, Field.CACHED_TOKENS)
    assert [counts[kind] for kind in kinds] == [101, 50, 10]
    assert (counts[Field.CACHE_WRITE_TOKENS], counts[Field.REASONING_TOKENS]) == (20, 5)
    assert counts[Field.MICRO_USD] == (70 + 5 + 20 + 90 + 10 + 3) + (1 + 3)
    assert (counts.requests, counts[Field.ESTIMATED]) == (3, 1)
    assert (commit.estimated, commit.implausible) == (1, 0)


def test_attempts_of_a_request_that_is_charged_once():
    """Attempts are settled apart from others, by their name; in one row the largest use counts."""
    name, other = "n" * 22, "o" * 22
    commit = committed(
        entry("complete:100:50:0:0:0", f"{POOLS};o!{name}"),
        entry("complete:9:0:0:0:0", f"{POOLS};o!{name}"),
        entry("complete:7:0:0:0:0", f"{TAKEN};o!{other}"),
        entry(reserved=f"{TAKEN};o!{other}", code="503"),
    )
    assert commit.settlements == {}
    own_uses = [(use, found) for use, budget, found in commit.once if budget == own()]
    assert own_uses == [
        (OnceUse(name, 0), Settlement(150, 800)),
        (OnceUse(other, 0), Settlement(7, 800)),
        (OnceUse(other, 0), Settlement(0, 800)),
    ]
    assert row(commit)[Field.INPUT_TOKENS] == 116  # the usage has all of them


@pytest.mark.parametrize("part", ["o!short", "o!", f"o!{'n' * 23}", f"o!{'n' * 21}~"])
def test_a_name_that_is_not_valid(part):
    """Such a line is refused as a whole."""
    assert tallied(entry("complete:1:0:0:0:0", f"{TAKEN};{part}")).refused == {Cause.IDENTITY: 1}


def test_every_owner_is_settled():
    """The budgets of the key, its project and its tenant each get the real use."""
    commit = committed(entry("complete:100:50:0:0:0", POOLS), entry("complete:9:0:0:0:0", POOLS))
    found = commit.settlements
    assert found[own()] == Settlement(159, 1600)
    project = LimitGroup(Owner.PROJECT, "search", (), "acme")
    assert found[Budget(project, ENDS, "usd-month month usd UTC")] == Settlement(203 + 12, 1800)
    assert found[Budget(LimitGroup(Owner.TENANT, "acme", ()), ENDS, COUNTER)] == Settlement(
        159, 1600
    )


@pytest.mark.parametrize(
    ("fields", "used"),
    [
        ({"code": "503", "flags": "UH"}, 0),
        ({"code": "503", "flags": "UC"}, 0),
        ({"code": "400"}, 0),
        ({"code": "200", "grpc": "8"}, 0),
        ({"code": "504", "flags": "UT"}, 800),
        ({"code": "0", "flags": "DC"}, 800),
        ({"code": "200", "flags": "DC"}, 800),
        ({"code": "200", "flags": "UPE"}, 800),
        ({"code": "200"}, 800),
    ],
)
def test_an_answer_without_tokens(fields, used):
    """An error returns the estimate. An answer that may have cost something keeps it."""
    assert committed(entry(**fields)).settlements[own()] == Settlement(used, 800)


def test_an_entry_without_a_reservation_settles_nothing():
    """Its tokens count, and no budget changes."""
    commit = committed(entry("complete:100:50:0:0:0", "-"))
    assert (commit.settlements, row(commit)[Field.INPUT_TOKENS]) == ({}, 100)


def test_an_entry_that_is_misdated_keeps_its_estimate():
    """Envoy's clock is off: nothing is attributed to the key, and nothing is settled."""
    late = committed(entry("complete:1:0:0:0:0"), clocks=Clocks(0, 1))
    assert (late.settlements, late.misdated) == ({}, 1)


def test_an_entry_of_a_running_request_settles_nothing():
    """Only the end of a request is settled."""
    assert committed(entry("partial:1:0:0:0:0", kind="DownstreamPeriodic")).settlements == {}


def test_tokens_that_are_not_plausible():
    """Such tokens count as the largest plausible number, and are reported."""
    commit = committed(entry("complete:9999999999999:0:0:0:0"))
    assert commit.settlements[own()] == Settlement(10_000_000, 800)
    assert commit.implausible == 1


@pytest.mark.parametrize("field", ["settle", "reserved", "model"])
def test_a_field_of_the_gate_that_is_not_in_order(field):
    """The entry is refused as a whole."""
    tally = tallied(entry("complete:1:0:0:0:0", **{field: "a!b;c"}))
    assert tally.refused == {Cause.IDENTITY: 1}


def test_entries_of_earlier_versions_settle_nothing():
    """Lines of versions 2 and 3 have no terms."""
    assert committed(line(), line(version="2")).settlements == {}
