"""Messages of the admin API as the values that flows over the store return."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Final, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from authz.core import fields
from authz.core.audit import Action, AuditEntry, AuditEvent
from authz.core.changes import Unchanged
from authz.core.errors import BadInput, Unavailable, Unreadable
from authz.core.keys.text import KID_PATTERN
from authz.core.limits.limit import Limit, OnOutage, parse_limit
from authz.core.limits.throttle import Throttle
from authz.core.records import KeyRecord, RevocationReason, Secret, Status
from authz.core.sidecars import Confirmation, Outstanding
from authz.core.usage.commit import Denial, Sight
from authz.flows.lifecycle import Changed
from authz.rpc.admin.values import KEYS, duration_ms, members_of, time_ms, word_of
from authz.rpc.pb.admin.v1 import audit_entry_pb2, key_pb2, usage_pb2

Key = key_pb2.Key
_Word = TypeVar("_Word", bound=Enum)
_Sent = TypeVar("_Sent")
_Value = TypeVar("_Value")

ELSEWHERE: Final = b"the store has it"
"""In place of a digest, which the API never sends: the secret is known, its digest is not."""

_KEY: Final = re.compile(r"[0-9A-Za-z_]{32,128}", re.ASCII)
_STATUS: Final = {number: name for name, number in Key.Status.items()}
_ON_OUTAGE: Final = {number: name for name, number in Key.OnOutage.items()}
_REASON: Final = {number: name for name, number in Key.RevocationReason.items()}
_ACTION: Final = {number: name for name, number in audit_entry_pb2.AuditEntry.Action.items()}
_TIMES: Final = frozenset({"expires_at", "not_before", "retires_at", "signs_from"})
# The order of the members of a detail. A message has none.
_ORDER: Final = {
    name: place
    for place, name in enumerate(
        (
            *("secret", "retires_at", "signing_key", "signs_from", "removed"),
            *("reason", "client_id", "project_id", "tenant_id", "plan"),
            *(
                "limits",
                "on_outage",
                "throttle",
                "name",
                "scopes",
                "not_before",
                "expires_at",
                "status",
            ),
            *("allowed_cidrs", "allowed_hosts", "allowed_origins", "metadata", "outage_grace"),
        )
    )
}


def kid_of(name: str) -> str:
    """Return the kid of the name of a key, or of a part of it.

    Raises Unavailable for another text: kids become names of files and parts of requests.
    """
    kid = name.removeprefix(KEYS).partition("/")[0]
    if not KID_PATTERN.fullmatch(kid):
        raise Unavailable("the admin API sent a name that is no name of a key")
    return kid


def new_text_of(text: str) -> str:
    """Return the text of a new key, as it goes to a terminal or a file.

    Raises Unavailable for a text that is no key.
    """
    if not _KEY.fullmatch(text):
        raise Unavailable("the admin API sent a text that is no key; the key may have been made")
    return text


def ms_of(given: Timestamp) -> int:
    """Return milliseconds since the epoch. Raises Unreadable outside of 1970 to 9999."""
    return _parsed(time_ms, "time", given)


def length_of(given: Duration) -> int:
    """Return milliseconds. Raises Unreadable below 0 and above 100 years."""
    return _parsed(duration_ms, "duration", given)


def limit_of(spec: str) -> Limit:
    """Return a limit. Raises Unreadable for one that this version does not know."""
    return _parsed(parse_limit, "limits", spec)


def _parsed(parse: Callable[[str, _Sent], _Value], name: str, sent: _Sent) -> _Value:
    try:
        return parse(name, sent)
    except BadInput as cause:
        raise Unreadable(f"the admin API sent a wrong value: {cause}") from None


def known(kind: type[_Word], text: str) -> _Word:
    """Return the member of an enumeration. Raises Unreadable for a word that is not in it."""
    try:
        return kind(text)
    except ValueError:
        why = f"the admin API sent {fields.shown(text)}, which this version does not know"
        raise Unreadable(why) from None


def optional_ms(message: Any, name: str) -> int | None:
    """Return the time in a field in milliseconds since the epoch; None if it is unset."""
    return ms_of(getattr(message, name)) if message.HasField(name) else None


def record_of(key: Key) -> KeyRecord:
    """Return the record of a key. Its secrets have ELSEWHERE as digests.

    Raises Unreadable for values that this version does not know.
    """
    try:
        return _record(key)
    except (KeyError, ValueError, BadInput):
        why = f"key {kid_of(key.name)}: a newer version of the program made it"
        raise Unreadable(why) from None


def record_of_kid(key: Key, kid: str) -> KeyRecord:
    """Return the record of a key that was asked for by its kid.

    Raises Unreadable for another key, and as `record_of`.
    """
    if kid_of(key.name) != kid:
        raise Unreadable(f"key {kid}: the admin API sent another key")
    return record_of(key)


def _record(key: Key) -> KeyRecord:
    return KeyRecord(
        kid=kid_of(key.name),
        version=key.version,
        status=word_of(Status, key.status, "STATUS", _STATUS) or Status.REVOKED,
        env=Key.Environment.Name(key.env).removeprefix("ENVIRONMENT_").lower(),
        public=key.public,
        client_id=key.client_id,
        created_at=ms_of(key.create_time),
        secrets=tuple(map(_secret, key.secrets)),
        name=key.display_name,
        project_id=key.project_id,
        tenant_id=key.tenant_id,
        plan=key.plan,
        limits=tuple(parse_limit("limits", limit.spec) for limit in key.limits),
        on_outage=word_of(OnOutage, key.on_outage, "ON_OUTAGE", _ON_OUTAGE),
        scopes=frozenset(key.scopes),
        not_before=optional_ms(key, "not_before_time"),
        expires_at=optional_ms(key, "expire_time"),
        allowed_cidrs=fields.networks("allowed_cidrs", key.allowed_cidrs),
        allowed_hosts=tuple(key.allowed_hosts),
        allowed_origins=tuple(key.allowed_origins),
        metadata=dict(sorted(key.metadata.items())),
        revoked_at=optional_ms(key, "revoke_time"),
        revocation_reason=_reason(key),
        outage_grace=_optional_duration(key, "outage_grace"),
        throttle=_throttle(key),
    )


def _throttle(key: Key) -> Throttle | None:
    if not key.HasField("throttle"):
        return None
    return Throttle(key.throttle.percent, ms_of(key.throttle.end_time))


def result_of(
    key: Key, outcome: key_pb2.ChangeOutcome, key_text: str | None = None
) -> Changed | Unchanged:
    """Return the result of a change."""
    record = record_of(key)
    if not outcome.changed:
        return Unchanged(record, outcome.detail)
    replicas = outcome.replicas if outcome.HasField("replicas") else None
    return Changed(record, new_text_of(key_text) if key_text else None, replicas)


def confirmation_of(message: key_pb2.Confirmation) -> Confirmation:
    """Return the answer of the sidecars."""
    return Confirmation(
        message.confirmed,
        tuple(
            Outstanding(each.instance, ms_of(each.may_act_until_time), each.over)
            for each in message.outstanding
        ),
        length_of(message.elapsed),
    )


def entry_of(message: audit_entry_pb2.AuditEntry) -> AuditEntry:
    """Return an entry of the audit trail.

    Raises Unreadable for an action that is not known, and for a detail with a wrong value.
    """
    try:
        action = word_of(Action, message.action, "ACTION", _ACTION)
    except (KeyError, ValueError):
        action = None
    if action is None:
        raise Unreadable(f"entry {message.version}: a newer version of the program wrote it")
    try:
        found = members_of(message.detail)
        detail = {name: _detail(name, found[name]) for name in sorted(found, key=_place)}
    except (ValueError, OverflowError):
        raise Unreadable(f"entry {message.version}: its detail has a wrong value") from None
    event = AuditEvent(
        action,
        message.actor,
        message.note,
        ms_of(message.change_time),
        detail,
        message.source,
        message.request_id,
    )
    return AuditEntry(message.version, message.base_version, event)


def sight_of(message: usage_pb2.KeyUse) -> Sight:
    """Return one use of a key."""
    return Sight(ms_of(message.use_time) // 1000, message.network, message.user_agent)


def denial_of(message: usage_pb2.KeyDenial) -> Denial:
    """Return denials of one kind and minute."""
    return Denial(
        ms_of(message.denial_time) // 1000,
        message.reason,
        message.route,
        message.status,
        message.network,
        message.method,
        message.requests,
    )


def _place(name: str) -> tuple[int, str]:
    return _ORDER.get(name, len(_ORDER)), name


def _detail(name: str, value: Any) -> Any:
    """Return a value as the store has it: times are in ms."""
    if isinstance(value, Mapping):
        return {part: _detail(_inner(name, part), value[part]) for part in sorted(value, key=_old)}
    if isinstance(value, list):
        return [_detail(name, part) for part in value]
    if name in _TIMES and isinstance(value, str):
        return round(datetime.fromisoformat(value).timestamp() * 1000)
    return value


def _inner(name: str, part: str) -> str:
    return name if part in {"old", "new"} else part


def _old(part: str) -> tuple[bool, str]:
    return part != "old", part  # `old` stands before `new`


def _secret(message: key_pb2.KeySecret) -> Secret:
    return Secret(
        message.secret_id,
        ELSEWHERE,
        message.pepper,
        ms_of(message.create_time),
        optional_ms(message, "retire_time"),
    )


def _reason(key: Key) -> RevocationReason | None:
    found = word_of(RevocationReason, key.revocation_reason, "REVOCATION_REASON", _REASON)
    is_revoked = key.status == Key.STATUS_REVOKED
    return found or (RevocationReason.UNSPECIFIED if is_revoked else None)


def _optional_duration(key: Key, name: str) -> int | None:
    given: Duration = getattr(key, name)
    return length_of(given) if key.HasField(name) else None
