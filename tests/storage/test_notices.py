"""The text forms of notices, log entries and audit entries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.audit import Action, AuditEvent
from authz.core.records import Status
from authz.storage import encoding, notices
from tests.support.fakes import KID, NOW
from tests.support.storage import stored
from tests.support.storage.strategies import TEXTS


@given(st.integers(1, 10**15 - 1), st.sampled_from(Status), st.lists(st.sampled_from("ab7 ")))
def test_notice(seq, status, extra):
    """A notice gives seq, kid and whether the key was revoked; further words are ignored."""
    text = " ".join([str(seq), KID, status.value, *extra])
    assert notices.decode_notice(text)[:3] == (seq, KID, status is Status.REVOKED)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        f"5 {KID}",
        f"{KID} revoked",
        f" 5 {KID} revoked",
        f"5  {KID} revoked",
        f"5\t{KID}\trevoked",
        f"-5 {KID} revoked",
        f"+5 {KID} revoked",
        f"5_0 {KID} revoked",
        f"\N{ARABIC-INDIC DIGIT FIVE} {KID} revoked",
        f"5.0 {KID} revoked",
        f"{'9' * 5000} {KID} revoked",
        f"{'9' * 30} {KID} revoked",
        "5 short revoked",
        f"5 {KID}x revoked",
        f"5 {'é' * 16} revoked",
        "5 \udcff revoked",
    ],
)
def test_garbled_notice(text):
    """A notice of another shape raises ValueError."""
    with pytest.raises(ValueError, match=r".*"):
        notices.decode_notice(text)


@given(TEXTS)
def test_random_notices(text):
    """Any text as a notice raises ValueError or nothing."""
    try:
        seq, kid, *_ = notices.decode_notice(text)
    except ValueError:
        return
    assert text.startswith(f"{seq} {kid} ")


def test_audit_event():
    """An audit event is stored as text, its detail as JSON, with the id of its change."""
    event = AuditEvent(Action.REVOKE, "ops@example", "leaked", NOW, {"reason": "superseded"})
    assert encoding.encode_event(event, "c1", 7) == {
        "change_id": "c1",
        "action": "revoke",
        "actor": "ops@example",
        "note": "leaked",
        "at": str(NOW),
        "detail": '{"reason": "superseded"}',
        "base": "7",
    }


def test_names_share_a_hash_tag():
    """All names that one change touches lie in one Cluster slot."""
    names = [
        stored.key(KID),
        stored.client("c"),
        stored.SEQ,
        stored.LOG,
        stored.AUDIT,
    ]
    names += [stored.KEYS, stored.CHANGES]
    assert {name[name.index("{") : name.index("}")] for name in names} == {"{0"}
    assert len(set(names)) == len(names)
