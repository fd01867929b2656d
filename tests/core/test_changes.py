"""The changes that a key permits, and the records that they make."""

from dataclasses import fields, replace

import pytest

from authz.core import changes, new_keys, secret_changes
from authz.core.audit import Action
from authz.core.changes import Author, KeyChange, Refused, Unchanged
from authz.core.errors import BadInput
from authz.core.fields import networks
from authz.core.limits.limit import parse_limit
from authz.core.new_keys import KeySpec
from authz.core.records import (
    MAX_LINEAGE,
    RETIRED_DIGEST_KEPT_MS,
    STATUS_CHANGES,
    RevocationReason,
    Secret,
    Status,
)
from authz.core.secret_changes import roll_back
from tests.support.fakes import DAY, KID, NOW, issue_record, make_keyring, make_record

KEYRING = make_keyring()
BUDGET = parse_limit("budget", "2.50/month,of=usd")
AUTHOR = Author("change-1", "alice", "because")
GRACE = 7 * DAY


def rotated(record, grace_ms=GRACE, now=NOW):
    """The record after a rotation that must succeed."""
    outcome = secret_changes.rotate(record, KEYRING.mint("live", record.kid), grace_ms, AUTHOR, now)
    assert isinstance(outcome, KeyChange), outcome
    return replace(outcome.record, version=record.version + 1)


def live(record, now):
    """The ids of the secrets that open something at `now`."""
    return [entry.id for entry in record.secrets if entry.is_live(now)]


# issue

SPEC = KeySpec(
    client_id="acme-web",
    env="test",
    name="the shop",
    project_id="shop",
    tenant_id="acme",
    scopes=frozenset({"models:*"}),
    not_before=NOW + DAY,
    life_ms=90 * DAY,
    allowed_cidrs=networks("", ["10.0.0.0/8"]),
    allowed_hosts=("api.example.com",),
    allowed_origins=("https://app.example.com",),
    metadata={"team": "web"},
)


def test_issue():
    """The record holds everything that was asked for, one secret, and no version yet."""
    minted = KEYRING.mint("test")

    change = new_keys.issue(SPEC, minted, AUTHOR, NOW)

    record = change.record
    asked = {field.name for field in fields(SPEC)} - {"life_ms", "expires_at", "is_canary"}
    assert {name: getattr(record, name) for name in asked} == {
        name: getattr(SPEC, name) for name in asked
    }
    assert (record.kid, record.version, record.status) == (minted.kid, 0, Status.ACTIVE)
    assert (record.created_at, record.expires_at) == (NOW, NOW + 90 * DAY)
    [entry] = record.secrets
    assert (entry.id, entry.digest, entry.pepper) == ("1", minted.digest, minted.pepper_version)
    assert (entry.created_at, entry.retires_at) == (NOW, None)
    assert (change.id, change.base_version) == ("change-1", 0)


def test_a_key_may_have_no_end():
    """A key that is issued without a lifetime has no expiry."""
    spec = KeySpec(client_id="acme-web", env="live", life_ms=None)

    assert new_keys.issue(spec, KEYRING.mint("live"), AUTHOR, NOW).record.expires_at is None


def test_a_key_may_end_at_a_time():
    """The end may be a time instead of a lifetime; it is after the beginning, too."""
    spec = KeySpec(client_id="acme-web", env="live", life_ms=None, expires_at=NOW + 1)
    assert new_keys.issue(spec, KEYRING.mint("live"), AUTHOR, NOW).record.expires_at == NOW + 1
    with pytest.raises(BadInput, match="expires-in"):
        new_keys.issue(spec, KEYRING.mint("live"), AUTHOR, NOW + 1)


def test_the_call_is_in_the_event():
    """The audit event has the source and the request id of a call of the admin API."""
    author = Author("change-1", "alice", "", "192.0.2.7 curl/8", "req-1")
    event = new_keys.issue(SPEC, KEYRING.mint("test"), author, NOW).event
    assert (event.source, event.request_id) == ("192.0.2.7 curl/8", "req-1")


@pytest.mark.parametrize(
    ("life_ms", "not_before"), [(0, None), (DAY, NOW + DAY), (DAY, NOW + DAY + 1), (0, NOW - DAY)]
)
def test_a_key_that_would_never_work_is_refused(life_ms, not_before):
    """A key expires after it begins, and after now."""
    spec = KeySpec(client_id="acme-web", env="live", life_ms=life_ms, not_before=not_before)

    with pytest.raises(BadInput, match="expires-in"):
        new_keys.issue(spec, KEYRING.mint("live"), AUTHOR, NOW)


# status

STEPS = {
    Status.ACTIVE: changes.enable,
    Status.DISABLED: changes.disable,
    Status.REVOKED: lambda record, author, now: changes.revoke(
        record, RevocationReason.UNSPECIFIED, author, now
    ),
}


@pytest.mark.parametrize("to", STEPS)  # no key becomes a canary key
@pytest.mark.parametrize("start", Status)
def test_every_step_follows_the_table(start, to):
    """A permitted change is made, the same status is left alone, anything else is refused."""
    record = make_record(status=start, version=4)

    outcome = STEPS[to](record, AUTHOR, NOW)

    if start is to:
        assert isinstance(outcome, Unchanged)
        assert outcome.record is record
        assert to.value in outcome.why
    elif to in STATUS_CHANGES[start]:
        assert (outcome.id, outcome.base_version) == ("change-1", 4)
        assert outcome.record.status is to
    else:
        assert isinstance(outcome, Refused)
        assert "issue a new key" in outcome.why


@pytest.mark.parametrize("reason", RevocationReason)
def test_revoke_keeps_when_and_why(reason):
    """A revoked record says since when and for which of the standard reasons."""
    record = make_record()

    outcome = changes.revoke(record, reason, AUTHOR, NOW + 5)

    assert outcome.record == replace(
        record, status=Status.REVOKED, revoked_at=NOW + 5, revocation_reason=reason
    )


def test_disable_and_enable_change_nothing_else():
    """A key that was disabled and enabled is the key that it was."""
    record = make_record(expires_at=NOW + DAY)

    disabled = changes.disable(record, AUTHOR, NOW).record
    enabled = changes.enable(disabled, AUTHOR, NOW).record

    assert disabled == replace(record, status=Status.DISABLED)
    assert enabled == record


# rotate


def test_rotate_adds_a_secret_and_retires_the_one_before():
    """A rotation adds a secret; both work during the overlap, then the new one. The kid stays."""
    record, _ = issue_record(KEYRING)
    minted = KEYRING.mint("live", record.kid)

    change = secret_changes.rotate(record, minted, GRACE, AUTHOR, NOW + DAY)

    after = change.record
    assert change.base_version == record.version
    assert after.kid == record.kid
    assert [entry.id for entry in after.secrets] == ["1", "2"]
    assert after.newest_secret.digest == minted.digest
    assert after.newest_secret.retires_at is None
    assert live(after, NOW + DAY + GRACE - 1) == ["1", "2"]
    assert live(after, NOW + DAY + GRACE) == ["2"]


def test_grace_zero_retires_at_once():
    """Without an overlap the old secret stops in the same millisecond."""
    after = rotated(make_record(), grace_ms=0)

    assert live(after, NOW) == ["2"]


def test_two_live_secrets_are_enough():
    """While an overlap lasts no other is begun: its holder was promised the time."""
    during = rotated(make_record())

    refused = secret_changes.rotate(during, KEYRING.mint("live"), 1, AUTHOR, NOW + GRACE - 1)
    taken = secret_changes.rotate(during, KEYRING.mint("live"), 1, AUTHOR, NOW + GRACE)

    assert isinstance(refused, Refused)
    assert "--grace 0" in refused.why
    assert isinstance(taken, KeyChange)


def test_grace_zero_ends_an_overlap_too():
    """When a secret leaked, nothing before the new one works any more."""
    during = rotated(make_record())

    after = rotated(during, grace_ms=0, now=NOW + DAY)

    assert live(after, NOW + DAY) == ["3"]
    assert [entry.retires_at for entry in after.secrets] == [NOW + DAY, NOW + DAY, None]


def test_a_rotation_never_prolongs_a_secret():
    """A secret that was about to retire does so on time."""
    record = make_record()
    ending = replace(record.newest_secret, retires_at=NOW + 5)

    after = rotated(replace(record, secrets=(ending,)))

    assert after.secrets[0].retires_at == NOW + 5


@pytest.mark.parametrize("grace_ms", [0, GRACE])
def test_an_expired_key_gets_no_overlap(grace_ms):
    """Rotating an expired key gives it a new secret and revives no old one, with any grace."""
    during = rotated(make_record(expires_at=NOW + DAY))
    ended = replace(during, expires_at=NOW + DAY)

    after = rotated(ended, grace_ms=grace_ms, now=NOW + DAY)

    assert live(after, NOW + DAY) == ["3"]
    assert [entry.retires_at for entry in after.secrets] == [NOW + DAY, NOW + DAY, None]


def test_a_key_that_has_not_quite_expired_gets_its_overlap():
    """The rotation of a key that has not expired yet gives the full overlap."""
    old = Secret("1", b"d" * 32, "1", NOW - 2 * GRACE)
    after = rotated(make_record(expires_at=NOW + 1, secrets=(old,)))

    assert live(after, NOW + GRACE - 1) == ["1", "2"]


def test_an_overlap_ends_with_the_key():
    """The old secret of a key with a short life works no longer than the new one."""
    after = rotated(make_record(expires_at=NOW + 5))

    assert after.expires_at == NOW + 5
    assert after.secrets[0].retires_at == NOW + 5
    assert live(after, NOW + 4) == ["1", "2"]


def retired(record, which, now=NOW + 1):
    """The record after one of its secrets was ended."""
    outcome = secret_changes.retire(record, which, AUTHOR, now)
    assert isinstance(outcome, KeyChange)
    assert outcome.narrows
    return outcome.record


@pytest.mark.parametrize(
    ("which", "left"), [("old", ["2"]), ("new", ["1"]), ("1", ["2"]), ("2", ["1"])]
)
def test_one_secret_ends_and_the_other_works(which, left):
    """Of two live secrets the named one ends, and the other keeps its end."""
    before = rotated(make_record())
    after = retired(before, which)
    assert live(after, NOW + 1) == left
    assert [entry.retires_at for entry in after.secrets if entry.id in left] == [
        entry.retires_at for entry in before.secrets if entry.id in left
    ]


def test_after_the_new_secret_ended_a_rotation_gives_another():
    """A lost new secret is ended, and the key is rotated again within the overlap."""
    again = rotated(retired(rotated(make_record()), "new"), now=NOW + 2)
    assert live(again, NOW + 3) == ["1", "3"]


def test_the_only_secret_does_not_end():
    """The only live secret, one that is unknown, and one of a revoked key are refused."""
    record = make_record()
    for which, why in (("old", "one live secret"), ("1", "one live secret"), ("9", "it has 1")):
        outcome = secret_changes.retire(record, which, AUTHOR, NOW)
        assert isinstance(outcome, Refused)
        assert why in outcome.why
    gone = replace(rotated(record), status=Status.REVOKED)
    assert isinstance(secret_changes.retire(gone, "old", AUTHOR, NOW), Refused)
    once = retired(rotated(record), "old")
    assert isinstance(secret_changes.retire(once, "1", AUTHOR, NOW + 2), Unchanged)


def test_an_undecided_delivery_after_a_leak_is_told():
    """The event has the end of the leaked secret, and no secret changes."""
    record = rotated(make_record())
    told = secret_changes.tell_undecided(record, "vault", AUTHOR, NOW + 1)
    assert told.record.secrets == record.secrets
    detail = {"secret": "2", "target": "vault", "retires_at": NOW + GRACE}
    assert (told.event.action, told.event.detail) == (Action.HOLD, detail)
    gone = replace(record, status=Status.REVOKED)
    assert isinstance(secret_changes.tell_undecided(gone, "vault", AUTHOR, NOW), Refused)


def test_the_lineage_is_bounded():
    """A key keeps its five newest secrets, and the numbers go on."""
    record = make_record()
    for step in range(1, 10):
        record = rotated(record, now=NOW + step * GRACE)
        assert len(record.secrets) == min(step + 1, MAX_LINEAGE)

    assert [entry.id for entry in record.secrets] == ["6", "7", "8", "9", "10"]


def test_old_digests_are_forgotten():
    """30 days after it retired a secret keeps its place in line and nothing else."""
    once = rotated(make_record(), grace_ms=0)

    soon = rotated(once, now=NOW + RETIRED_DIGEST_KEPT_MS - 1)
    late = rotated(once, now=NOW + RETIRED_DIGEST_KEPT_MS)

    assert soon.secrets[0] == once.secrets[0]
    assert late.secrets[0] == replace(once.secrets[0], digest=b"")
    assert late.secrets[1].digest == once.secrets[1].digest


def test_each_secret_lives_as_long_as_the_first():
    """Rotation moves the expiry on by the life that the key was issued with, early or late."""
    life, now = 90 * DAY, NOW
    record = make_record(expires_at=NOW + life)

    for days in (7, 80, 8, 30, 100):
        now += days * DAY
        record = rotated(record, now=now)
        assert record.expires_at == now + life


def test_a_key_without_an_end_gets_none():
    """Rotation sets no expiry where there is none."""
    assert rotated(make_record(expires_at=None)).expires_at is None


def test_a_revoked_key_cannot_be_rotated():
    """A leaked key does not come back by a new secret."""
    outcome = secret_changes.rotate(
        make_record(status=Status.REVOKED), KEYRING.mint("live"), 0, AUTHOR, NOW
    )

    assert isinstance(outcome, Refused)


def test_a_disabled_key_stays_disabled():
    """A disabled key that is rotated stays disabled."""
    assert rotated(make_record(status=Status.DISABLED)).status is Status.DISABLED


@pytest.mark.parametrize("grace_ms", [0, GRACE])
def test_a_rotation_is_not_made_twice(grace_ms):
    """Asked again with the secret that it made, also after another rotation, nothing is done."""
    record, minted = make_record(), KEYRING.mint("live")
    once = secret_changes.rotate(record, minted, 0, AUTHOR, NOW).record
    since = rotated(once, now=NOW + 1)

    for current in (once, since):
        outcome = secret_changes.rotate(current, minted, grace_ms, AUTHOR, NOW + 2)
        assert isinstance(outcome, Unchanged)
        assert outcome.record is current


# the audit trail


def test_every_change_says_who_what_when_and_why():
    """The audit event carries the author's words and what was special about the change."""
    spec = KeySpec(client_id="acme-web", env="live", life_ms=DAY)
    record = make_record(expires_at=NOW + DAY)
    made = {
        Action.ISSUE: new_keys.issue(spec, KEYRING.mint("live"), AUTHOR, NOW),
        Action.IMPORT: new_keys.import_key(spec, KID, [("1", b"d" * 32)], AUTHOR, NOW),
        Action.UPDATE: changes.update(record, {"name": "shop"}, AUTHOR, NOW),
        Action.ROTATE: secret_changes.rotate(record, KEYRING.mint("live"), 5, AUTHOR, NOW),
        Action.RETIRE: secret_changes.retire(rotated(record), "old", AUTHOR, NOW),
        Action.ROLL_BACK: roll_back(rotated(record), AUTHOR, NOW),
        Action.HOLD: secret_changes.hold(rotated(record), "vault", AUTHOR, NOW),
        Action.REVOKE: changes.revoke(record, RevocationReason.SUPERSEDED, AUTHOR, NOW),
        Action.DISABLE: changes.disable(record, AUTHOR, NOW),
        Action.ENABLE: changes.enable(replace(record, status=Status.DISABLED), AUTHOR, NOW),
        Action.RESET_LIMITS: changes.reset_limits(record, AUTHOR, NOW),
        Action.REFUND: changes.refund(record, BUDGET, AUTHOR, NOW),
    }

    others = {
        Action.DELETE,
        Action.ERASE_USAGE,
        Action.LEAK,
        Action.CANARY,
        Action.BUDGET,
        Action.ROTATE_SIGNING_KEY,
        Action.REMOVE_SIGNING_KEY,
        Action.CLEAR_BLOCKED_CLIENTS,
        Action.ALLOW_NETWORK,
        Action.FORBID_NETWORK,
        Action.REPLAY_EVENTS,
    }  # no changes of the record
    assert set(made) == set(Action) - others
    for action, change in made.items():
        event = change.event
        assert (event.action, event.actor, event.note, event.at) == (
            action,
            "alice",
            "because",
            NOW,
        )
    assert made[Action.ISSUE].event.detail == {"client_id": "acme-web", "expires_at": NOW + DAY}
    assert made[Action.REVOKE].event.detail == {"reason": "superseded"}
    assert made[Action.ROTATE].event.detail == {
        "secret": "2",
        "retires_at": NOW + 5,
        "expires_at": NOW + DAY,
    }
