"""The three-way merge of a declared key, and the state of a key at an earlier version."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from authz.core import changes
from authz.core.audit import AuditEntry
from authz.core.changes import KeyChange
from authz.core.merging import Clash, Merge, fields_of, merge, state_at
from authz.core.records import RevocationReason
from authz.core.secret_changes import rotate
from tests.support.changes import KEYRING, author
from tests.support.fakes import DAY, NOW, make_record

NAMES = ("plan", "name", "status")
STATES = st.fixed_dictionaries(dict.fromkeys(NAMES, st.sampled_from("abc")))


@given(declared=STATES, stored=STATES, base=STATES)
def test_no_change_is_lost(declared, stored, base):
    """A field that one side changed gets that side's value; one that both changed is a clash."""
    found = merge(declared, stored, base)
    clashing = {clash.name for clash in found.clashes}
    after = stored | dict(found.wanted)
    for name in NAMES:
        file_changed, store_changed = declared[name] != base[name], stored[name] != base[name]
        if declared[name] == stored[name]:
            assert name not in clashing | found.wanted.keys() | found.kept.keys()
        elif file_changed and store_changed:
            assert name in clashing
            assert after[name] == stored[name]
        elif file_changed:
            assert after[name] == declared[name]
        else:
            assert (after[name], found.kept[name]) == (stored[name], stored[name])


@given(declared=STATES, stored=STATES)
def test_without_a_base_every_difference_is_a_clash(declared, stored):
    """If the base is unknown, nothing is set, unless the file may overwrite."""
    found = merge(declared, stored, None)
    assert (found.wanted, found.kept) == ({}, {})
    differing = {name for name in NAMES if declared[name] != stored[name]}
    assert {clash.name for clash in found.clashes} == differing
    forced = merge(declared, stored, None, overwrites=True)
    assert stored | dict(forced.wanted) == declared
    assert forced.clashes == ()


def test_an_applied_file_has_nothing_left_to_do():
    """A merge with the result of a merge changes nothing."""
    base = {"plan": "a", "name": "a"}
    first = merge({"plan": "b", "name": "a"}, {"plan": "a", "name": "c"}, base)
    assert first == Merge({"plan": "b"}, {"name": "c"})
    assert merge({"plan": "b", "name": "c"}, {"plan": "b", "name": "c"}, base) == Merge()
    assert merge({"plan": "b"}, {"plan": "c"}, {"plan": "a"}).clashes == (Clash("plan", "b", "c"),)


STEPS = st.lists(
    st.sampled_from(["rename", "plan", "life", "rotate", "disable", "enable", "limits"]),
    max_size=8,
)


def step(record, kind, count):
    """The next version of a record by one change, with its audit entry; or None."""
    now, by = NOW + count, author()
    plans = {
        "rename": lambda: changes.update(record, {"name": f"n{count}"}, by, now),
        "plan": lambda: changes.update(record, {"plan": f"p{count % 2}"}, by, now),
        "life": lambda: changes.update(record, {"expires_at": NOW + DAY + count}, by, now),
        "rotate": lambda: rotate(record, KEYRING.mint("live", record.kid), 0, by, now),
        "disable": lambda: changes.disable(record, by, now),
        "enable": lambda: changes.enable(record, by, now),
        "limits": lambda: changes.reset_limits(record, by, now),
    }
    planned = plans[kind]()
    if not isinstance(planned, KeyChange):
        return None
    version = record.version + 3
    return replace(planned.record, version=version), AuditEntry(
        version, record.version, planned.event
    )


@given(kinds=STEPS, data=st.data())
def test_an_earlier_state_is_found_in_the_trail(kinds, data):
    """The fields at any version are those that the record had then."""
    record = replace(make_record(expires_at=NOW + DAY), version=1)
    issue = AuditEntry(1, 0, replace(changes.reset_limits(record, author(), NOW).event))
    issue = replace(issue, event=replace(issue.event, detail={"expires_at": record.expires_at}))
    seen, entries = {1: fields_of(record)}, [issue]
    for count, kind in enumerate(kinds, 1):
        made = step(record, kind, count)
        if made is not None:
            record, entry = made
            entries.insert(0, entry)
            seen[record.version] = fields_of(record)
    version = data.draw(st.sampled_from(sorted(seen)))
    assert state_at(record, entries, version) == seen[version]


def test_a_state_that_the_trail_does_not_hold():
    """Without the entries, or for a version that the key never had, no field is known."""
    record = replace(make_record(), version=9)
    assert state_at(record, [], 4) == {}
    made = changes.update(record, {"name": "b"}, author(), NOW)
    after = replace(made.record, version=12)
    assert state_at(after, [AuditEntry(12, 9, made.event)], 10) == {}


def test_a_revocation_hides_the_status_before():
    """The status before a revocation is not known, the other fields are."""
    record = replace(make_record(), version=1)
    made = changes.revoke(record, RevocationReason.SUPERSEDED, author(), NOW)
    found = state_at(replace(made.record, version=2), [AuditEntry(2, 1, made.event)], 1)
    assert "status" not in found
    assert found["name"] == record.name
