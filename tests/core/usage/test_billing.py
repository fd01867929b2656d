"""Billing records: ids, owners, texts, customers and periods."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.errors import BadInput
from authz.core.usage.billing import texts
from authz.core.usage.billing.customers import Customers, read_table
from authz.core.usage.billing.differences import Delivered, KeyHours, closed_before, differences
from authz.core.usage.billing.differences import owner as owner_of
from authz.core.usage.billing.period import Asked, period
from authz.core.usage.billing.ports import Bounds
from authz.core.usage.billing.record import (
    NUMBERS,
    BillingRecord,
    Owner,
    Unit,
    decoded,
    encoded,
)
from authz.core.usage.counts import FIELDS, Counts
from tests.support.fakes import make_record

KID = "7Hk2mQ9xT4bVzR1c"
HOUR = 500_000
ROUTES = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=128)


def record(**changed) -> BillingRecord:
    """Return a record with some fields changed."""
    fields = {"kid": KID, "hour": HOUR, "route": "models", "unit": "ok", "quantity": 3}
    return BillingRecord(**(fields | {"revision": 1, "owner": Owner("acme", "", "t")} | changed))


@given(ROUTES, st.sampled_from(Unit), st.integers(1, 10**11))
def test_an_id_has_at_most_100_characters(route, unit, revision):
    """An id names one place, has no blank, and is not longer than receivers allow."""
    found = record(route=route, unit=unit.value, revision=revision).id
    assert len(found) <= 100
    assert found.isprintable()
    assert " " not in found
    other = record(route=f"{route[:-1]}{'a' if route[-1:] != 'a' else 'b'}", unit=unit.value)
    assert other.id != record(route=route, unit=unit.value).id


@given(ROUTES, st.integers(), st.text())
def test_a_record_is_read_back(route, quantity, customer):
    """The text of a record in a cursor is the whole record."""
    one = record(route=route, quantity=quantity, customer=customer)
    assert decoded(encoded(one)) == one


@pytest.mark.parametrize("text", ["", "[]", "{}", "1", '["a"]', "[" * 100_000])
def test_other_text_is_no_record(text):
    """Text that is no record raises ValueError and nothing else."""
    with pytest.raises(ValueError, match="not a record of usage"):
        decoded(text)


def test_every_unit_has_the_number_of_its_name():
    """A unit is the number that `authz usage --json` calls by that name."""
    counts = Counts(tuple(range(3, 3 + FIELDS)))
    assert {unit: NUMBERS[unit](counts) for unit in Unit} == {
        unit: counts.by_name()[unit.value] for unit in Unit
    }


@given(ROUTES)
def test_csv_has_no_formula(route):
    """No cell begins with a character that makes a formula, but a negative quantity."""
    import csv

    text = texts.CSV_HEADING + texts.csv_rows([record(route=route, quantity=-2)]).decode()
    (row,) = csv.DictReader(text.splitlines())
    assert row["route"].removeprefix("'") == route.removeprefix("'")
    assert not row["route"].startswith(("=", "+", "-", "@"))
    assert (row["quantity"], row["project"], row["tenant"]) == ("-2", "", "t")


def test_events():
    """A batch is one array of CloudEvents; their data are the records."""
    (event,) = json.loads(texts.event_batch([record()], "authz/eu"))
    assert event["data"] | {"project": None, "plan": None} == texts.document(record())
    assert None not in event["data"].values()
    assert (event["source"], event["subject"], event["time"]) == (
        "authz/eu",
        "acme",
        "2027-01-15T08:00:00Z",
    )
    assert texts.event(record(owner=Owner()), "authz")["subject"] == KID


def test_owners():
    """The last owner up to the hour counts, else the first one, else the record of the key."""
    owners = {10: "acme - t pro live", 20: "globex p - - live"}
    assert owner_of(owners, 5, None) == Owner("acme", "", "t", "pro")
    assert owner_of(owners, 19, None) == Owner("acme", "", "t", "pro")
    assert owner_of(owners, 20, None) == Owner("globex", "p", "", "")
    assert owner_of({}, 20, None) == Owner()
    assert owner_of({}, 20, make_record(client_id="c", plan="free")) == Owner("c", "", "", "free")


def test_a_closed_hour_is_two_hours_old():
    """The first hour that is not closed begins at most two hours and one before now."""
    assert closed_before(7_200_000) == 0
    assert closed_before(2 * 7_200_000 - 1) == 1
    assert closed_before(2 * 7_200_000) == 2


def test_differences():
    """New counts, changed ones and lost ones make records; equal ones and expired ones none."""
    counts = {(HOUR, "a"): Counts((5,)), (HOUR, "b"): Counts((5,)), (HOUR, "c"): Counts((5,))}
    full = {place: Counts((*each.numbers, *[0] * (FIELDS - 1))) for place, each in counts.items()}
    hours = KeyHours(KID, full, frozenset({HOUR // 192}))
    delivered = {
        (HOUR, "a", "ok"): Delivered(5, 2),
        (HOUR, "b", "ok"): Delivered(7, 1),
        (HOUR, "lost", "ok"): Delivered(4, 3),
        (HOUR, "lost", "units"): Delivered(4, 1),
        (HOUR, "gone", "ok"): Delivered(0, 4),
        (HOUR - 192, "expired", "ok"): Delivered(4, 1),
    }
    found = {
        (each.route, each.revision): each.quantity
        for each in differences(hours, delivered, [Unit.OK], None)
    }
    assert found == {("b", 2): -2, ("c", 1): 5, ("lost", 4): -4}


def test_records_are_ordered():
    """By hour, then by route, in whatever order the store has them."""
    counts = Counts((5, *[0] * (FIELDS - 1)))
    places = [(HOUR + 1, ""), (HOUR, "b"), (HOUR + 1, "a"), (HOUR, "")]
    hours = KeyHours(KID, dict.fromkeys(places, counts), frozenset())
    found = [(each.hour, each.route) for each in differences(hours, {}, [Unit.OK], None)]
    assert found == sorted(places)


def test_customers():
    """The nearest line of the table wins, then the metadata of the key."""
    table = read_table("f", "# c\nclient acme cus_1\n\nkey " + KID + " cus_2\ntenant t -\n")
    key = make_record(metadata={"stripe": "cus_9", "bad": "cus 9"})
    assert Customers("", table).of(record(), None) == "cus_2"
    other = record(kid="K" * 16)
    assert Customers("stripe", table).of(other, key) == "cus_1"
    assert Customers("", table).of(record(kid="K" * 16, owner=Owner("", "", "t")), key) == "-"
    nobody = record(kid="K" * 16, owner=Owner("x"))
    assert Customers("stripe", table).of(nobody, key) == "cus_9"
    assert Customers("bad", table).of(nobody, key) == ""
    assert Customers("stripe", table).of(nobody, None) == ""
    assert Customers("", table).of(nobody, key) == ""


@pytest.mark.parametrize(
    "text",
    ["client acme", "clients acme cus_1", "client acme c d", "client a cus_1\nclient a cus_2"],
)
def test_a_wrong_table(text):
    """The line is named."""
    with pytest.raises(BadInput, match=r"f: line [12]: "):
        read_table("f", text)


def _asked(**changed):
    given_ = {"since": None, "until": None, "corrections": 24, "oldest": 100}
    return Asked(**(given_ | changed))


def test_periods():
    """A cursor compares from its floor on; without one, all hours that the store has."""
    assert period(_asked(), 200, None).hours == range(100, 200)
    assert period(_asked(since=150, until=160), 200, None).hours == range(150, 160)
    assert period(_asked(until=300), 200, None).hours == range(100, 200)
    known = Bounds(170, 190)
    assert period(_asked(), 200, known).hours == range(170, 200)
    assert period(_asked(oldest=180), 200, known).hours == range(180, 200)
    assert period(_asked(since=195), 200, known).hours == range(195, 200)
    found = period(_asked(since=202), 200, known)
    assert found.hours == range(202, 202)
    (warning,) = found.warnings
    assert "leaves out 1970-01-08T22:00:00Z to 1970-01-09T10:00:00Z" in warning
    assert not period(_asked(since=185), 200, known).warnings
    (warning,) = period(_asked(since=99), 200, None).warnings
    assert "hours before 1970-01-05T04:00:00Z may be gone" in warning


def test_periods_with_lost_hours():
    """Hours that were lost, or are not known any more, need a decision."""
    with pytest.raises(BadInput, match=r"--since: is needed: hours from 1970-01-08T22:00:00Z"):
        period(_asked(oldest=191), 200, Bounds(170, 190))
    with pytest.raises(BadInput, match=r"--since: the cursor has forgotten"):
        period(_asked(since=169), 200, Bounds(170, 190))


def test_periods_in_the_future():
    """A time or a cursor after the store's clock is refused: hours until then would be lost."""
    for known in (None, Bounds(170, 190)):
        with pytest.raises(BadInput, match=r"--since: 1970-01-09T12:00:00Z is in the future"):
            period(_asked(since=204), 200, known)
    for since in (None, 1024):
        with pytest.raises(BadInput, match="in the future of the store's clock"):
            period(_asked(since=since), 200, Bounds(1000, 1024))


@given(
    st.integers(100, 200),
    st.none() | st.integers(100, 230),
    st.integers(0, 50),
    st.none() | st.integers(0, 100),
    st.none() | st.tuples(st.integers(100, 150), st.integers(0, 60)),
)
def test_bounds_never_go_back(closed, since, corrections, held, known):
    """The position and the floor only grow, and the floor stays before a record that waits."""
    before = Bounds(known[0], known[0] + known[1]) if known else None
    try:
        found = period(_asked(since=since, corrections=corrections), closed, before)
    except BadInput:
        return
    waits = None if held is None or not found.hours else found.hours[held % len(found.hours)]
    after = found.bounds(waits)
    assert after.floor <= after.position
    assert after.position >= found.hours.stop
    if waits is not None:
        assert after.floor <= waits
    if before:
        assert after.position >= before.position
        assert after.floor >= before.floor
