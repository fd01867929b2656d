"""An update gives fields other values, and its event names what was and what is."""

from dataclasses import fields as fields_of
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core import changes
from authz.core.audit import Action
from authz.core.changes import Author, KeyChange, Refused, Unchanged
from authz.core.errors import BadInput
from authz.core.fields import MAX_ENTRIES, networks
from authz.core.limits.credits import KEEP_CREDITS, parse_credits_change
from authz.core.limits.limit import OnOutage, parse_limits
from authz.core.limits.throttle import Throttle
from authz.core.records import KeyRecord, Status
from authz.core.updates import Updates
from tests.support.fakes import DAY, NOW, make_record

AUTHOR = Author("change-1", "alice", "because")
OLD = make_record(
    version=7,
    client_id="acme-web",
    name="the shop",
    scopes=frozenset({"a:b", "c:d"}),
    allowed_cidrs=networks("", ["10.0.0.0/8"]),
    metadata={"team": "web"},
    expires_at=NOW + 90 * DAY,
)
# A value for each field that can be updated, other than OLD's.
OTHER: Updates = {
    "client_id": "acme-batch",
    "project_id": "shop",
    "tenant_id": "eu-1",
    "plan": "standard",
    "limits": parse_limits("limits", ["10/s", "1000000/month@15"]),
    "on_outage": OnOutage.DENY,
    "throttle": Throttle(25, NOW + DAY),
    "name": "another",
    "scopes": frozenset({"e:f"}),
    "not_before": NOW + DAY,
    "expires_at": NOW + 2 * DAY,
    "allowed_cidrs": networks("", ["192.0.2.0/24", "2001:db8::/32"]),
    "allowed_hosts": ("api.example.com",),
    "allowed_origins": ("https://app.example.com",),
    "metadata": {"ticket": "7"},
    "outage_grace": 0,
}


def update(wanted: Updates, record: KeyRecord = OLD, **scopes):
    """Return the outcome of an update."""
    return changes.update(record, wanted, AUTHOR, NOW, **scopes)


def test_every_field_of_the_table_has_a_case_here():
    """The table of what can be updated and the cases below are the same."""
    assert Updates.__annotations__.keys() == OTHER.keys()


@given(names=st.sets(st.sampled_from(sorted(OTHER)), min_size=1))
def test_only_what_is_named_changes(names):
    """Any choice of fields becomes what was asked; all others stay; the event names just these."""
    wanted = {name: OTHER[name] for name in names}

    change = update(wanted)

    assert isinstance(change, KeyChange)
    assert change.record == replace(OLD, **wanted)
    assert (change.id, change.base_version) == ("change-1", 7)
    event = change.event
    assert (event.action, event.actor, event.note, event.at) == (
        Action.UPDATE,
        "alice",
        "because",
        NOW,
    )
    assert event.detail.keys() == names
    assert change.former_client_id == ("acme-web" if "client_id" in names else None)


def test_the_event_holds_what_was_and_what_is():
    """The event of an update has the old and the new values as JSON."""
    wanted = {name: OTHER[name] for name in ("client_id", "scopes", "allowed_cidrs", "expires_at")}
    assert update(wanted).event.detail == {
        "client_id": {"old": "acme-web", "new": "acme-batch"},
        "scopes": {"old": ["a:b", "c:d"], "new": ["e:f"]},
        "allowed_cidrs": {"old": ["10.0.0.0/8"], "new": ["192.0.2.0/24", "2001:db8::/32"]},
        "expires_at": {"old": NOW + 90 * DAY, "new": NOW + 2 * DAY},
    }


@pytest.mark.parametrize("name", sorted(OTHER))
def test_the_same_value_is_no_change(name):
    """An update to the present values is Unchanged."""
    record = replace(OLD, **{name: OTHER[name]})
    outcome = update({name: OTHER[name]}, record)
    assert isinstance(outcome, Unchanged)
    assert outcome.record == record


@pytest.mark.parametrize("until", [NOW - DAY, NOW, NOW + 31 * DAY])
def test_a_throttle_ends_within_30_days(until):
    """A new throttle that is over does nothing, and a long one is not one for a time."""
    with pytest.raises(BadInput, match="throttle"):
        update({"throttle": Throttle(50, until)})
    throttled = replace(OLD, throttle=Throttle(50, until))
    assert isinstance(
        update({"throttle": Throttle(50, until), "name": "new"}, throttled), KeyChange
    )


def test_scopes_are_added_and_removed():
    """Scopes are added and removed; the others stay."""
    change = update({}, add_scopes=frozenset({"e:f"}), remove_scopes=frozenset({"a:b", "x:y"}))
    assert change.record.scopes == {"c:d", "e:f"}
    assert change.event.detail == {"scopes": {"old": ["a:b", "c:d"], "new": ["c:d", "e:f"]}}


def test_too_many_scopes_by_adding():
    """Adding does not get around the bound on scopes."""
    full = replace(OLD, scopes=frozenset(f"s:{number}" for number in range(MAX_ENTRIES)))
    with pytest.raises(BadInput, match="scopes"):
        update({}, full, add_scopes=frozenset({"one:more"}))


@pytest.mark.parametrize("status", Status)
def test_a_revoked_key_is_not_updated(status):
    """Revoked is final; a disabled key may be put right."""
    outcome = update({"name": "x"}, replace(OLD, status=status))
    assert isinstance(outcome, Refused) is (status is Status.REVOKED)


@pytest.mark.parametrize(
    "wanted",
    [
        {"expires_at": NOW},
        {"expires_at": NOW - 1},
        {"not_before": NOW + 90 * DAY},
        {"not_before": NOW + 2 * DAY, "expires_at": NOW + DAY},
    ],
)
def test_a_key_does_not_end_before_it_begins(wanted):
    """An end in the past, or not behind the beginning, is bad input."""
    with pytest.raises(BadInput, match="expires-at"):
        update(wanted)


def test_an_expired_key_can_be_named_and_renewed():
    """An expired key can be renamed and can get a new end."""
    expired = replace(OLD, expires_at=NOW - DAY)
    assert update({"name": "x"}, expired).record.expires_at == NOW - DAY
    assert update({"expires_at": NOW + DAY}, expired).record.expires_at == NOW + DAY
    assert update({"expires_at": None}, expired).record.expires_at is None


def test_what_cannot_be_updated():
    """Identity, state and secrets of a key have no place in an update."""
    given = {field.name for field in fields_of(KeyRecord) if field.init}
    untouched = given - Updates.__annotations__.keys()
    assert untouched == {
        "kid",
        "version",
        "public",
        "status",
        "env",
        "created_at",
        "secrets",
        "revoked_at",
        "revocation_reason",
        "unknown",
    }


# credits


def refill(text: str, *before: str, **fields):
    """Return the outcome of a change of the credits of a key with these limits."""
    record = make_record(limits=parse_limits("limits", before), **fields)
    return changes.update(
        record, {}, AUTHOR, NOW, credits_change=parse_credits_change("--credits", text)
    )


@pytest.mark.parametrize(
    ("before", "text", "after"),
    [
        (["10/s", "300/once", "9/h"], "+5", ["10/s", "305/once", "9/h"]),
        (["10/s", "300/once", "9/h"], "5", ["10/s", "5/once", "9/h"]),
        (["10/s", "300/once", "9/h"], "none", ["10/s", "9/h"]),
        (["10/s"], "5", ["10/s", "5/once"]),
        (["3/once,cost_of=request,enforce=false"], "+4", ["7/once,cost_of=request,enforce=false"]),
    ],
)
def test_a_change_of_credits(before, text, after):
    """Credits are added, set and removed in place, and keep their options."""
    change = refill(text, *before)
    assert list(map(str, change.record.limits)) == after
    assert change.event.detail == {"limits": {"old": before, "new": after}}
    assert change.is_relative is text.startswith("+")
    assert change.narrows is (text == "5")  # fewer credits, or credits where there was no end


@pytest.mark.parametrize(
    ("before", "text", "why"),
    [
        (["10/s"], "+5", "has no credits of its own to add to"),
        (["credits=10/month"], "5", "its limit credits is credits=10/month, which is no credit"),
        (["credits=10/month"], "none", "which is no credit"),
        (["1/once"], "+1000000000000", "it has 1 credits; the total may be 1000000000000"),
        ([f"x{n}=1/s" for n in range(8)], "5", "at most 8 limits, its credits included"),
    ],
)
def test_credits_that_cannot_be_changed_like_this(before, text, why):
    """The refusal says what is wrong."""
    outcome = refill(text, *before)
    assert isinstance(outcome, Refused)
    assert why in outcome.why


def test_no_change_of_credits():
    """The same total changes nothing, and a revoked key is final."""
    assert isinstance(refill("5", "5/once"), Unchanged)
    assert isinstance(refill("none", "5/s"), Unchanged)
    assert isinstance(refill("+5", "5/once", status=Status.REVOKED), Refused)


@pytest.mark.parametrize(
    ("limits", "after"),
    [(["9/h"], ["9/h", "5/once"]), ([], ["5/once"]), (["7/once", "9/h"], ["7/once", "9/h"])],
)
def test_other_limits_keep_the_credits(limits, after):
    """New limits take the place of all others but the credits, unless they hold credits."""
    record = make_record(limits=parse_limits("limits", ["10/s", "5/once"]))
    wanted: Updates = {"limits": parse_limits("limits", limits)}
    change = changes.update(record, wanted, AUTHOR, NOW, credits_change=KEEP_CREDITS)
    assert isinstance(change, KeyChange)
    assert list(map(str, change.record.limits)) == after
