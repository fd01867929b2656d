"""Records of keys."""

from dataclasses import fields, replace

import pytest

from authz.core.records import STATUS_CHANGES, RevocationReason, Secret, Status, as_revoked
from tests.support.fakes import DAY, NOW, make_record

DIGEST = bytes(32)


def test_revoked_is_terminal():
    """Every status has its row, and nothing leads out of revoked."""
    assert set(STATUS_CHANGES) == set(Status)
    assert STATUS_CHANGES[Status.REVOKED] == frozenset()
    assert all(status not in targets for status, targets in STATUS_CHANGES.items())


def test_every_status_can_be_revoked():
    """A key of any status can be revoked."""
    ended = {status for status, targets in STATUS_CHANGES.items() if Status.REVOKED in targets}

    assert ended == set(Status) - {Status.REVOKED}


@pytest.mark.parametrize(
    ("digest", "retires_at", "live", "remembered"),
    [
        (DIGEST, None, True, True),
        (DIGEST, NOW + 1, True, True),
        (DIGEST, NOW, False, True),
        (DIGEST, NOW - 30 * DAY + 1, False, True),
        (DIGEST, NOW - 30 * DAY, False, False),
        (DIGEST, 0, False, False),
        (b"", None, False, False),
        (b"", NOW + 1, False, False),
    ],
)
def test_a_secret_is_live_then_remembered_then_forgotten(digest, retires_at, live, remembered):
    """Live until it retires, remembered for 30 days more, neither without its digest."""
    entry = Secret("1", digest, "1", NOW - DAY, retires_at)

    assert entry.is_live(NOW) is live
    assert entry.is_remembered(NOW) is remembered


def test_the_newest_secret_is_the_last():
    """Secrets stand in the order in which they were made."""
    first, second = Secret("1", DIGEST, "1", NOW), Secret("2", DIGEST, "1", NOW)

    assert make_record(secrets=(first, second)).newest_secret is second


@pytest.mark.parametrize("status", Status)
def test_as_revoked(status):
    """A record is returned as revoked; one that is revoked already is returned as it is."""
    record = make_record(status=status, revoked_at=NOW if status is Status.REVOKED else None)

    revoked = as_revoked(record)

    assert revoked == replace(record, status=Status.REVOKED)
    assert (revoked is record) is (status is Status.REVOKED)


def test_revocation_reasons_are_those_of_rfc_5280():
    """The words stand in stores and in scripts: none may go or change."""
    assert {reason.value for reason in RevocationReason} == {
        "unspecified",
        "key_compromise",
        "affiliation_changed",
        "superseded",
        "cessation_of_operation",
        "privilege_withdrawn",
    }


def test_a_record_cannot_be_altered():
    """A record in the cache is shared by all requests."""
    record = make_record()

    for field in fields(record):
        with pytest.raises(AttributeError):
            setattr(record, field.name, None)
