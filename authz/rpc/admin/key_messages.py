"""Records, limits, outcomes and audit entries as messages. Digests and secrets are left out."""

from typing import Any, Final

from authz.core.audit import AuditEntry
from authz.core.changes import Unchanged
from authz.core.limits.amounts import units_of
from authz.core.limits.key_limits import Owner
from authz.core.limits.limit import Limit
from authz.core.limits.periods import Calendar
from authz.core.records import KeyRecord, Secret
from authz.core.sidecars import Confirmation
from authz.flows.lifecycle import Changed
from authz.flows.limits.limit_report import LimitReport
from authz.rpc.admin.values import (
    LIMITS,
    duration,
    name_of,
    number_of,
    rfc3339,
    struct_of,
    timestamp,
)
from authz.rpc.pb.admin.v1 import audit_entry_pb2, key_pb2, limits_pb2

_STATUS: Final = dict(key_pb2.Key.Status.items())
_ON_OUTAGE: Final = dict(key_pb2.Key.OnOutage.items())
_REASON: Final = dict(key_pb2.Key.RevocationReason.items())
_ACTION: Final = dict(audit_entry_pb2.AuditEntry.Action.items())
# In details of the trail.
_TIMES: Final = frozenset({"expires_at", "not_before", "retires_at", "signs_from"})


def key_message(record: KeyRecord) -> key_pb2.Key:
    """Return a record as a message, without digests. Scopes are sorted; the etag is the version."""
    key = key_pb2.Key(
        name=name_of(record.kid),
        version=record.version,
        etag=str(record.version),
        status=_number(_STATUS, "STATUS", record.status),
        env=f"ENVIRONMENT_{record.env.upper()}",
        public=record.public,
        display_name=record.name,
        client_id=record.client_id,
        project_id=record.project_id,
        tenant_id=record.tenant_id,
        plan=record.plan,
        limits=map(limit_message, record.limits),
        on_outage=_number(_ON_OUTAGE, "ON_OUTAGE", record.on_outage),
        scopes=sorted(record.scopes),
        secrets=map(_secret, record.secrets),
        create_time=timestamp(record.created_at),
        allowed_cidrs=map(str, record.allowed_cidrs),
        allowed_hosts=record.allowed_hosts,
        allowed_origins=record.allowed_origins,
        metadata=record.metadata,
        revocation_reason=_number(_REASON, "REVOCATION_REASON", record.revocation_reason),
    )
    if record.not_before is not None:
        key.not_before_time.CopyFrom(timestamp(record.not_before))
    if record.expires_at is not None:
        key.expire_time.CopyFrom(timestamp(record.expires_at))
    else:
        key.never_expires = True
    if record.outage_grace is not None:
        key.outage_grace.CopyFrom(duration(record.outage_grace))
    if record.throttle is not None:
        key.throttle.percent = record.throttle.percent
        key.throttle.end_time.CopyFrom(timestamp(record.throttle.until))
    if record.revoked_at is not None:
        key.revoke_time.CopyFrom(timestamp(record.revoked_at))
    return key


def limit_message(limit: Limit) -> key_pb2.Limit:
    """Return one limit, as a text and in its parts."""
    return key_pb2.Limit(
        spec=str(limit),
        limit_name=limit.name,
        amount=limit.limit,
        period=str(limit.per),
        time_zone=limit.per.zone if isinstance(limit.per, Calendar) else "",
        burst=limit.burst,
        enforced=limit.enforce,
        counts=limit.of.value,
    )


def limits_message(
    record: KeyRecord, report: LimitReport | None, *, with_leases: bool = False
) -> limits_pb2.KeyLimits:
    """Return the use of the limits of a key. report: None if no limit applies.

    A limit has a reset time if it resets, and it is a quota or was used. with_leases: whether the
    names of the sidecars are for the caller.
    """
    message = limits_pb2.KeyLimits(name=f"{name_of(record.kid)}{LIMITS}", allowed=True)
    if report is None:
        return message
    view = report.view()
    message.read_time.CopyFrom(timestamp(report.now))
    message.allowed = report.result().allowed
    message.on_outage = _number(_ON_OUTAGE, "ON_OUTAGE", report.charge.key_limits.on_outage)
    for use in view.uses:
        row = message.limits.add(
            used=use.used, remaining=use.remaining, leased=use.leased, spent=use.spent
        )
        row.limit.CopyFrom(limit_message(use.limit))
        row.limit.limit_name = use.name
        row.owner = _owner(use.owner, use.owner_id)
        if use.resets_at is not None:
            row.reset_time.CopyFrom(timestamp(use.resets_at))
    message.lease_requests = view.lease_requests
    message.lease_time.CopyFrom(duration(view.lease_ms))
    for held in view.leases if with_leases else ():
        message.leases.add(
            instance=held.lease.holder,
            owner=_owner(held.owner, held.owner_id),
            requests=held.lease.requests,
            cost=units_of(held.lease.cost),
            expire_time=timestamp(held.lease.until),
        )
    return message


def _owner(owner: Owner, owner_id: str) -> str:
    return owner.value if owner is Owner.KEY else f"{owner.value}:{owner_id}"


def outcome_message(
    result: Changed | Unchanged, *, made: bool = True, confirmed: "Waited | None" = None
) -> key_pb2.ChangeOutcome:
    """Return the effect of a change. made: False for a rehearsal, which is not `changed`."""
    outcome = key_pb2.ChangeOutcome(changed=made and isinstance(result, Changed))
    if isinstance(result, Unchanged):
        outcome.detail = result.why
    elif result.replicas is not None:
        outcome.replicas = result.replicas
    if confirmed is not None:
        outcome.confirmation.CopyFrom(confirmation_message(confirmed))
    return outcome


Waited = Confirmation | str
"""The answer of the sidecars, or the reason why the wait failed."""


def entry_message(kid: str, entry: AuditEntry, row: str = "") -> audit_entry_pb2.AuditEntry:
    """Return an entry of the audit trail. kid: empty if it is about no key. row: its id."""
    event = entry.event
    detail = struct_of({name: _readable(name, value) for name, value in event.detail.items()})
    return audit_entry_pb2.AuditEntry(
        version=entry.version,
        base_version=entry.base_version,
        key=name_of(kid) if kid else "",
        change_time=timestamp(event.at),
        action=_number(_ACTION, "ACTION", event.action),
        actor=event.actor,
        note=event.note,
        source=event.source,
        request_id=event.request_id,
        detail=detail,
        row=row,
    )


def _number(numbers: dict[str, int], prefix: str, word: Any) -> Any:
    """Return the number of the enum value `PREFIX_WORD`; 0 for None or an unknown word.

    The type is Any, because the generated code has a type of its own for each enum.
    """
    return number_of(word, prefix, numbers)


def _secret(secret: Secret) -> key_pb2.KeySecret:
    message = key_pb2.KeySecret(
        secret_id=secret.id, pepper=secret.pepper, create_time=timestamp(secret.created_at)
    )
    if secret.retires_at is not None:
        message.retire_time.CopyFrom(timestamp(secret.retires_at))
    return message


def confirmation_message(waited: Waited) -> key_pb2.Confirmation:
    """Return the answer of the sidecars, or the reason why the wait failed."""
    if isinstance(waited, str):
        return key_pb2.Confirmation(error=waited)
    return key_pb2.Confirmation(
        complete=waited.is_complete,
        sidecars=waited.sidecars,
        confirmed=waited.confirmed,
        elapsed=duration(waited.elapsed_ms),
        outstanding=[
            key_pb2.Confirmation.Outstanding(
                instance=each.instance,
                may_act_until_time=timestamp(each.may_allow_until),
                over=each.is_over,
            )
            for each in waited.outstanding
        ],
    )


def _readable(name: str, value: Any) -> Any:
    """Return an int (ms) in a time field as RFC 3339, also in old and new; others unchanged."""
    if isinstance(value, dict) and value.keys() == {"old", "new"}:
        return {which: _readable(name, part) for which, part in value.items()}
    return rfc3339(value) if name in _TIMES and isinstance(value, int) else value
