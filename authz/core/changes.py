"""Changes of a key, as values. Each function plans one from a record and performs nothing.

KeyChange: to be applied. Unchanged: the record is in that state already. Refused: not permitted.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from authz.core import fields
from authz.core.audit import Action, AuditEvent
from authz.core.errors import BadInput
from authz.core.keys.credentials import Minted
from authz.core.limits.credits import CreditsChange
from authz.core.limits.limit import MAX_LIMITS, Limit
from authz.core.limits.throttle import require_its_time
from authz.core.narrowing import narrows
from authz.core.public_keys import require_so_still
from authz.core.records import (
    STATUS_CHANGES,
    KeyRecord,
    RevocationReason,
    Secret,
    Status,
)
from authz.core.updates import Updates, differences


@dataclass(frozen=True, slots=True)
class Author:
    """The author of a change and the reason. `change_id` makes a repeated request harmless.

    source: address and user agent of a call of the admin API. request_id: the id of that call. Both
    are empty for a command.
    """

    change_id: str
    actor: str
    note: str = ""
    source: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class KeyChange:
    """The new record, to be written if the stored one is at `base_version` (0: there is none).

    `aliases`: the digests of an imported key, newest pepper first. The first becomes its alias. If
    any of them is the alias of another key, the change is not made.
    `former_client_id`: the client until now, if the change gives the key to another client.
    `narrows`: the change only takes rights away, so it also applies on a full store.
    `is_relative`: the change adds credits, so it must not be made twice. Do not plan it again while
    it is unknown whether it was made.
    """

    id: str
    base_version: int
    record: KeyRecord
    event: AuditEvent
    aliases: tuple[bytes, ...] = field(default=(), repr=False)
    former_client_id: str | None = None
    narrows: bool = False
    is_relative: bool = False


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Nothing to do. `why` names the state that the key is in already."""

    record: KeyRecord
    why: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The change is not permitted. `why`: the reason, and often the remedy."""

    why: str


Outcome = KeyChange | Unchanged | Refused


def update(
    record: KeyRecord,
    wanted: Updates,
    author: Author,
    now: int,
    *,
    add_scopes: frozenset[str] = frozenset(),
    remove_scopes: frozenset[str] = frozenset(),
    credits_change: CreditsChange | None = None,
) -> Outcome:
    """Plan new values for some fields. The event lists each with its old and new value.

    Scopes are added first, then removed. The credits are changed after the other limits. Returns
    Refused if the key is revoked or its credits cannot be changed like this, Unchanged if every
    value is the same. `now`: ms since the epoch. Raises BadInput for too many scopes, or if
    `not_before` or `expires_at` changes, and the end is then at or before `now` or `not_before`, or
    if a publishable key would have no origin, no limits, or new ones that are only reported. Also
    for a new throttle that is over or ends after more than 30 days.
    """
    if record.status is Status.REVOKED:
        return Refused(f"{record.kid} is revoked, which is final; issue a new key")
    updated = replace(record, **wanted)
    if add_scopes or remove_scopes:
        scopes = fields.scopes("scopes", (updated.scopes | add_scopes) - remove_scopes)
        updated = replace(updated, scopes=scopes)
    if credits_change is not None:
        if problem := credits_change.problem(record.limits):
            return Refused(f"{record.kid}: {problem}")
        limits = credits_change.applied(record.limits, updated.limits)
        if len(limits) > MAX_LIMITS:
            return Refused(f"{record.kid}: at most {MAX_LIMITS} limits, its credits included")
        updated = replace(updated, limits=limits)
    require_so_still(record, updated)
    altered = differences(record, updated)
    if not altered:
        return Unchanged(record, f"{record.kid} is so already")
    _require_times(updated, altered.keys(), now)
    change = planned(record, updated, Action.UPDATE, author, now, **altered)
    if credits_change is not None and credits_change.is_relative:
        change = replace(change, is_relative=True)
    if updated.client_id != record.client_id:
        return replace(change, former_client_id=record.client_id)
    return change


def _require_times(updated: KeyRecord, altered: Collection[str], now: int) -> None:
    if "throttle" in altered and updated.throttle is not None:
        require_its_time(updated.throttle, now)
    begins, ends = updated.not_before, updated.expires_at
    is_altered = "not_before" in altered or "expires_at" in altered
    if is_altered and ends and ends <= max(now, begins or now):
        raise BadInput(
            "expires-at", "the key would be over before it begins; disable or revoke it instead"
        )


def revoke(record: KeyRecord, reason: RevocationReason, author: Author, now: int) -> Outcome:
    """Plan the revocation of a key, which is final. Returns Unchanged if it is revoked already.

    `now`: ms since the epoch, stored as `revoked_at`.
    """
    if record.status is Status.REVOKED:
        return Unchanged(record, f"{record.kid} is already revoked")
    revoked = replace(record, status=Status.REVOKED, revoked_at=now, revocation_reason=reason)
    return planned(record, revoked, Action.REVOKE, author, now, reason=reason.value)


def disable(record: KeyRecord, author: Author, now: int) -> Outcome:
    """Plan to disable a key until it is enabled. `now`: ms since the epoch.

    Returns Unchanged if it is disabled already, Refused if it is revoked.
    """
    return _turn(record, Status.DISABLED, Action.DISABLE, author, now)


def enable(record: KeyRecord, author: Author, now: int) -> Outcome:
    """Plan to enable a disabled key. `now`: ms since the epoch.

    Returns Unchanged if it is active already, Refused if it is revoked.
    """
    return _turn(record, Status.ACTIVE, Action.ENABLE, author, now)


def reset_limits(record: KeyRecord, author: Author, now: int) -> Outcome:
    """Plan a new version of the same record, which ends the leases and refusals at the sidecars.

    Returns Refused if the key is revoked. The counters themselves are reset by LimitCounters.reset.
    `now`: ms since the epoch.
    """
    if record.status is Status.REVOKED:
        return Refused(f"{record.kid} is revoked, which is final; issue a new key")
    return planned(record, record, Action.RESET_LIMITS, author, now)


def refund(record: KeyRecord, budget: Limit, author: Author, now: int) -> Outcome:
    """Plan the audit entry of a refund: a new version of the same record.

    budget: its `limit` are the units to give back, which LimitCounters.refund does. Returns Refused
    if the key is revoked. `now`: ms since the epoch.
    """
    if record.status is Status.REVOKED:
        return Refused(f"{record.kid} is revoked, which is final; issue a new key")
    detail = {"budget": budget.name, "units": budget.limit}
    change = planned(record, record, Action.REFUND, author, now, **detail)
    return replace(change, is_relative=True)


def _turn(record: KeyRecord, to: Status, action: Action, author: Author, now: int) -> Outcome:
    if record.status is to:
        return Unchanged(record, f"{record.kid} is already {to.value}")
    if record.status is Status.CANARY:
        return Refused(f"{record.kid} is a canary key, which can only be revoked; issue a new key")
    if to not in STATUS_CHANGES[record.status]:
        return Refused(f"{record.kid} is {record.status.value}, which is final; issue a new key")
    return planned(record, replace(record, status=to), action, author, now)


def secret_of(entry_id: str, minted: Minted, now: int) -> Secret:
    """Return a minted secret as one of a record, created at `now` (ms since the epoch)."""
    return Secret(entry_id, minted.digest, minted.pepper_version, now)


def planned(
    before: KeyRecord | None,
    after: KeyRecord,
    action: Action,
    author: Author,
    now: int,
    **detail: object,
) -> KeyChange:
    """Return the change from one state of a record to another. before: None for a new key.

    `now`: ms since the epoch. detail: of the event, values that JSON can hold. `narrows` is set,
    `aliases`, `former_client_id` and `is_relative` are not.
    """
    about = (author.source, author.request_id)
    event = AuditEvent(action, author.actor, author.note, now, detail, *about)
    if before is None:
        return KeyChange(author.change_id, 0, after, event)
    narrowing = narrows(before, after)
    return KeyChange(author.change_id, before.version, after, event, narrows=narrowing)
