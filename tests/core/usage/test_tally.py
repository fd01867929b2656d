"""Adding up entries."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.usage.callers import method
from authz.core.usage.commit import Denial, Sight
from authz.core.usage.counts import LARGEST, Counts, Field, Level, added, month_of, trimmed
from authz.core.usage.entry import Cause, EntryReader
from authz.core.usage.tally import BLOCK, Tally
from tests.support.usage import KID, MINUTE, NEAR, NOW, PROCESS, committed, line, tallied

OTHER = "0" * 16


def row(commit, kid=KID, route="models", minute=MINUTE) -> Counts:
    """The counts of one key, minute and route."""
    found = list(commit.keys[kid].rows[minute, route])
    added(found, [0] * len(Field))
    return Counts(tuple(found))


def test_sums():
    """Requests are counted by outcome; bytes and time are added up."""
    commit = committed(
        line(),
        line(milliseconds="150", sent="1"),
        line(code="500"),
        line(code="404"),
        line(flags="DC"),
        line(reason="rate_limited", code="429", flags="UAEX", charged="-"),
    )
    counts = row(commit)
    outcomes = (Field.OK, Field.SERVER_ERROR, Field.CLIENT_ERROR, Field.ABORTED, Field.DENIED)
    assert [counts[field] for field in outcomes] == [2, 1, 1, 1, 1]
    assert counts.requests == 6
    assert counts[Field.BYTES_IN] == 6 * 300
    assert counts[Field.BYTES_OUT] == 5 * 4000 + 1
    assert counts[Field.MILLISECONDS] == 5 * 12 + 150
    assert (counts[Field.SLOW_100_MS], counts[Field.SLOW_1_S]) == (1, 0)
    assert commit.keys[KID].denials == {(MINUTE, "rate_limited"): 1}
    assert counts.units == 5
    assert commit.entries == 6


def test_units():
    """Units are what the limits paid: nothing for a route that costs 0, more for one that costs."""
    assert row(committed(line(charged="25"), line(charged="0"))).units == 25
    report_only = line(reason="expired", charged="-")
    assert row(committed(report_only)).units == 0


def test_a_request_counts_where_it_ended():
    """A request of an hour counts in the minute of its end."""
    hour = 3_600_000
    commit = committed(line(started=NOW - hour, milliseconds=str(hour)))
    assert row(commit).requests == 1


def test_requests_without_a_key():
    """Requests without a key are in the totals and in the denials."""
    commit = committed(line(kid="-", secret="-", reason="forged", code="401", flags="UAEX"))
    assert commit.keys == {}
    assert commit.denials == {(MINUTE, "forged"): 1}
    assert list(commit.totals) == [(MINUTE, "models", "401")]


def test_a_clock_that_is_off():
    """An entry far from the store's time is counted apart, and of no key."""
    day = 86_400_000
    commit = committed(line(started=NOW - day), line(started=NOW + day), line())
    assert commit.misdated == 2
    assert row(commit).requests == 1
    assert commit.entries == 3
    assert sum(commit.seen[PROCESS].values()) == 3


def test_a_request_that_runs():
    """Periodic entries show that a key is in use, and count nothing."""
    commit = committed(line(kind="DownstreamPeriodic"), line(kind="DownstreamStart"))
    assert commit.keys[KID].rows == {}
    assert commit.keys[KID].latest == Sight(NOW // 1000, "203.0.113.0/24", "curl")
    assert commit.seen == {}


def test_a_client_cannot_end_a_request():
    """The words of an ended request in a user agent count nothing."""
    agent = "DownstreamEnd 200 - - 9 9 9 203.0.113.7 1 1 via GET all x"
    tally = tallied(line(kind="DownstreamPeriodic", agent=agent))
    assert (tally.running, tally.refused) == (1, {})
    assert tally.commit(NEAR).totals == {}


def test_the_latest_use():
    """The latest request names network and user agent, of the key and of each secret."""
    commit = committed(
        line(started=NOW, address="2001:db8::1", agent="new/1", secret="s2"),
        line(started=NOW - 60_000, agent="old/1", secret="s1"),
    )
    usage = commit.keys[KID]
    assert usage.latest == Sight(NOW // 1000, "2001:db8::/48", "new")
    assert usage.secrets["s1"] == (Sight(NOW // 1000 - 60, "203.0.113.0/24", "old"), 1)
    hour = MINUTE // 60
    assert usage.networks == {hour: {"2001:db8::/48"}, hour - 1: {"203.0.113.0/24"}}
    assert usage.agents == {hour: {"new"}, hour - 1: {"old"}}


def test_the_latest_denials():
    """Requests that were denied alike are one denial; those without a key belong to nobody."""
    refused = {"reason": "address_not_allowed", "code": "403", "charged": "-", "flags": "UAEX"}
    commit = committed(
        line(started=NOW - 2000, **refused),
        line(started=NOW, address="2001:db8::1", **refused),
        line(version="2", started=NOW, reason="rate_limited", code="200", grpc="8", flags="UAEX"),
        line(),
        line(kid="-", secret="-", reason="malformed", code="401", charged="-"),
    )
    denials = sorted(commit.keys[KID].latest_denials)
    at, network = NOW // 1000, "203.0.113.0/24"
    assert denials == [
        Denial(at, "address_not_allowed", "models", "403", "2001:db8::/48", "GET", 2),
        Denial(at, "rate_limited", "", "200/8", network, "GET", 1),
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"GET", "GET"),
        (b"M-SEARCH", "M-SEARCH"),
        (b"get", ""),
        (b"-", ""),
        (b"A" * 21, ""),
        (b"", ""),
    ],
)
def test_methods(text, found):
    """Only a usual method is kept: a client may write anything there."""
    assert method(text) == found


def test_what_came_of_each_process():
    """Charge ids are counted by block; the answers with count 0 are not counted."""
    ids = [0, 1, BLOCK - 1, BLOCK, 5 * BLOCK]
    commit = committed(*(line(charge_id=f"{PROCESS}{count:012x}") for count in ids))
    assert commit.seen == {PROCESS: {0: 2, 1: 1, 5: 1}}
    assert commit.highest == {PROCESS: 5 * BLOCK}


@pytest.mark.parametrize("lacks", [1, 2, 3, 4])
@pytest.mark.parametrize("reason", ["ok", "revoked"])
def test_a_line_that_lacks_its_last_words(lacks, reason):
    """Such a line does not stop the meter, which would get it again for ever."""
    whole = line(reason=reason, started=NOW - 1_000)
    short = line(reason=reason, started=NOW).rsplit(b" ", lacks)[0]
    commit = committed(whole, short)
    assert row(commit).requests == 2
    (found, number) = commit.keys[KID].secrets["s1"]
    assert (found.agent, number) == ("none", 2)
    assert [one.method for one in commit.keys[KID].latest_denials] in ([], [""], ["GET"])


def test_refused_entries():
    """Refused entries are counted by cause, and the others are counted as ever."""
    tally = tallied(b"garbage", line(), line(kid="'"), line(kid="'"))
    assert tally.refused == {Cause.VERSION: 1, Cause.IDENTITY: 2}
    assert row(tally.commit(NEAR)).requests == 1


LINES = st.builds(
    line,
    version=st.sampled_from("23"),
    kid=st.sampled_from([KID, OTHER, "-"]),
    reason=st.sampled_from(["ok", "revoked"]),
    route=st.sampled_from(["models", "-"]),
    code=st.sampled_from(["200", "404", "503", "0", "x"]),
    flags=st.sampled_from(["-", "UAEX", "DC"]),
    milliseconds=st.sampled_from(["0", "7", "120", "20000", "?"]),
    kind=st.sampled_from(["DownstreamEnd", "DownstreamEnd", "DownstreamPeriodic"]),
    agent=st.sampled_from(["curl/8", "x y z", "-"]),
)


@given(st.lists(LINES, max_size=40))
def test_the_hot_path_agrees_with_the_reader(lines):
    """Requests by key and outcome are those of entries that are read one by one."""
    reader, expected, refused = EntryReader(), Counter(), Counter()
    for text in lines:
        entry = reader.read(text)
        if isinstance(entry, Cause):
            refused[entry] += 1
        elif entry.is_end and entry.identity.kid:
            expected[entry.identity.kid, entry.status.outcome.name] += 1
    tally = tallied(*lines)
    found = Counter()
    for kid, usage in tally.commit(NEAR).keys.items():
        for minute, route in usage.rows:
            counts = row(tally.commit(NEAR), kid, route, minute)
            for name in ("OK", "CLIENT_ERROR", "SERVER_ERROR", "DENIED", "ABORTED"):
                found[kid, name] += counts[Field[name]]
    assert +found == expected
    assert tally.refused == dict(refused)


@given(st.lists(LINES, max_size=20), st.integers(0, 20))
def test_batches_add_up(lines, at):
    """The counts are the same, wherever a batch ends."""
    parts = Tally(EntryReader())
    parts.add(lines[:at])
    parts.add(lines[at:])
    assert parts.commit(NEAR) == committed(*lines)


def test_counters_stop_at_the_largest():
    """A counter never wraps: it stays at 2^53 - 1, and says so."""
    kept = [LARGEST - 1]
    assert not added(kept, [1])
    assert added(kept, [1, 5])
    assert kept == [LARGEST, 5]


def test_slots():
    """Months are those of the calendar in UTC; a slot begins where it says."""
    assert month_of(0) == 0
    assert Level.MONTH.starts_at(month_of(MINUTE)) == 1_798_761_600_000  # January 2027
    for level in Level:
        start = level.starts_at(level.slot(MINUTE))
        assert start <= MINUTE * 60_000
        assert level.slot(start // 60_000) == level.slot(MINUTE)
        assert level.slot(start // 60_000 - 1) == level.slot(MINUTE) - 1


def test_zeros_at_the_end():
    """A stored row ends with its last number that is not 0."""
    assert trimmed([0, 3, 0, 0]) == [0, 3]
    assert trimmed([0]) == []
