"""Rotation policies."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.records import Status
from authz.core.rotation import Reminder, RotationPolicies, RotationPolicy, reminder
from authz.core.trail import reminders
from authz.core.trail.rows import Row
from tests.support.fakes import KID, NOW, make_record

DAY = 86_400_000
POLICY = RotationPolicy(90 * DAY, (14 * DAY, 3 * DAY))
POLICIES = RotationPolicies({"gold": RotationPolicy(30 * DAY)}, POLICY)


@pytest.mark.parametrize(
    ("days", "stage"),
    [(0, None), (75.9, None), (76, 14), (86.9, 14), (87, 3), (89.9, 3), (90, 0), (900, 0)],
)
def test_stages(days, stage):
    """The latest reminder counts: 14 days before, 3 days before, and due."""
    found = POLICY.stage(make_record(), NOW + round(days * DAY))
    assert found == (None if stage is None else stage * DAY)


def test_the_policy_of_a_key():
    """The policy of the plan wins, others have the default, and keys that do not work have none."""
    record = make_record()
    assert POLICIES.of(replace(record, plan="gold"), NOW) == POLICIES.plans["gold"]
    assert POLICIES.of(replace(record, plan="other"), NOW) is POLICY
    for ended in (
        replace(record, status=Status.DISABLED),
        replace(record, status=Status.REVOKED),
        replace(record, expires_at=NOW),
    ):
        assert POLICIES.of(ended, NOW) is None
    assert RotationPolicies().of(record, NOW) is None


def test_a_rotation_begins_the_time_again():
    """The age of the newest secret counts."""
    record = make_record()
    later = replace(record.secrets[0], id="2", created_at=NOW + 80 * DAY)
    rotated = replace(record, secrets=(*record.secrets, later))
    assert reminder(rotated, POLICIES, NOW + 90 * DAY) is None
    assert POLICY.due_at(rotated) == NOW + 170 * DAY


@given(st.text(max_size=20), st.integers(0, 10**12), st.integers(0, 10**14))
def test_a_note_comes_back(secret, before, due_at):
    """The row of a reminder gives the reminder."""
    one = Reminder(KID, secret, before, due_at)
    assert reminders.noted(Row("1-1", reminders.note(one, "c", "w", NOW))) == one


@pytest.mark.parametrize("detail", ["", "[", "{}", '{"key": "x"}', "[" * 100_000])
def test_garbled_notes(detail):
    """A row with another detail is no reminder."""
    assert reminders.noted(Row("1-1", {"kid": "", "action": "due", "detail": detail})) is None
