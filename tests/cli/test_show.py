"""Records as text and JSON, and the form of times."""

from dataclasses import fields as fields_of
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.cli import show
from authz.cli.color import rendered
from authz.cli.times import moment_ms
from authz.core.errors import BadInput
from authz.core.records import KeyRecord, RevocationReason, Secret, Status
from authz.core.times import rfc3339

NOW = 1_750_000_000_000
DIGEST = bytes(range(32))
RECORD = KeyRecord(
    kid="7Hk2mQ9xT4bVzR1c",
    version=7,
    status=Status.ACTIVE,
    env="live",
    client_id="acme-web",
    created_at=NOW,
    secrets=(Secret("1", DIGEST, "1", NOW),),
)


def test_no_field_of_a_record_is_forgotten() -> None:
    """Every field of a record that this version knows is shown under its own name."""
    names = {field.name for field in fields_of(KeyRecord) if field.init}
    assert set(show.document(RECORD)) == names - {"unknown"}


def test_a_digest_is_not_shown() -> None:
    """A digest appears neither in text nor in JSON."""
    shown = f"{show.document(RECORD)} {show.table(RECORD, NOW)} {show.summary(RECORD)}"
    assert DIGEST.hex() not in shown
    assert repr(DIGEST) not in shown
    assert set(show.document(RECORD)["secrets"][0]) == {"id", "pepper", "created_at", "retires_at"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "active"),
        ({"expires_at": NOW + 1}, "active"),
        ({"expires_at": NOW}, "active, but expired"),
        ({"not_before": NOW}, "active"),
        ({"not_before": NOW + 1}, "active, but not yet valid"),
        ({"status": Status.DISABLED, "expires_at": NOW}, "disabled"),
        ({"status": Status.REVOKED, "not_before": NOW + 1}, "revoked"),
    ],
)
def test_a_person_is_told_when_an_active_key_does_not_work(
    change: dict[str, object], expected: str
) -> None:
    """Text says that an active key is expired or not yet valid. JSON has only the status."""
    record = replace(RECORD, **change)
    table = rendered(show.table(record, NOW), None)
    row = next(line for line in table.splitlines() if line.startswith("status"))
    assert row.split(maxsplit=1)[1] == expected
    assert show.document(record)["status"] == record.status.value


@pytest.mark.parametrize(
    ("retires_at", "digest", "expected"),
    [
        (None, DIGEST, "1: pepper 1, made 2025-06-15T15:06:40.000Z"),
        (NOW + 1, DIGEST, "works until 2025-06-15T15:06:40.001Z"),
        (NOW, DIGEST, "retired 2025-06-15T15:06:40.000Z"),
        (NOW - 1, b"", "retired 2025-06-15T15:06:39.999Z"),
    ],
)
def test_a_person_is_told_what_a_secret_is_good_for(
    retires_at: int | None, digest: bytes, expected: str
) -> None:
    """Text has a line for each secret: live, live until a time, or retired."""
    record = replace(RECORD, secrets=(Secret("1", digest, "1", NOW, retires_at),))
    line = next(line for line in show.table(record, NOW).splitlines() if "pepper" in line)
    assert line.endswith(expected)


def test_what_is_not_set_is_left_out_for_a_person_and_empty_for_a_script() -> None:
    """Text omits unset fields. JSON always has all members."""
    assert "project_id" not in show.table(RECORD, NOW)
    assert show.document(RECORD)["project_id"] == ""
    assert show.document(RECORD)["expires_at"] is None
    assert "does not expire" in show.summary(RECORD)
    revoked = replace(RECORD, revocation_reason=RevocationReason.SUPERSEDED, revoked_at=NOW)
    assert show.document(revoked)["revocation_reason"] == "superseded"


@given(st.integers(min_value=0, max_value=253_402_300_799_999))
def test_a_time_is_read_back_as_it_was_written(moment: int) -> None:
    """Milliseconds survive, up to the last of the year 9999."""
    assert moment_ms("at", rfc3339(moment), 0) == moment


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.5Z", 500),
        ("1970-01-01T00:00:00.123456789Z", 123),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T19:00:00-05:00", 0),
        ("0", 1000),
        ("2s", 3000),
    ],
)
def test_a_time_may_have_an_offset_or_be_a_duration_from_now(text: str, expected: int) -> None:
    """A time is RFC 3339 with any offset, or a duration from now."""
    assert moment_ms("at", text, now=1000) == expected


@given(st.text() | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"))
def test_any_other_text_is_no_time(text: str) -> None:
    """Any text gives a whole number or a refusal."""
    try:
        assert isinstance(moment_ms("at", text, now=0), int)
    except BadInput as cause:
        assert cause.field == "at"  # noqa: PT017  both ends are good ones
