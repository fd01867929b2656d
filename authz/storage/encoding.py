"""Encoding of key records and audit events as fields in the store, and their strict decoding.

Times are milliseconds since the epoch. An absent value is the empty string. A missing or garbled
field makes the record Unreadable, because a lost restriction must not become a permission.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, TypeVar

from authz.core import fields
from authz.core.audit import Action, AuditEvent
from authz.core.errors import BadInput, Unreadable
from authz.core.keys import base62
from authz.core.limits.limit import Limit, OnOutage, parse_limits, parse_on_outage
from authz.core.limits.throttle import Throttle, of_stored
from authz.core.public_keys import require_public
from authz.core.records import PUBLIC_ENV, KeyRecord, RevocationReason, Secret, Status
from authz.core.scopes import shared
from authz.storage.schema import SCHEMA

MAX_DIGITS: Final = 15  # of a number: Lua and JSON numbers represent these exactly
OF_SCRIPT: Final = frozenset({"version", "change_id", "seal"})  # fields that the script writes
THROTTLE: Final = "throttle="  # prefix of the word before it
ON_OUTAGE: Final = "on_outage="  # prefix of the last word of a key's limits, if it is no limit

_Word = TypeVar("_Word", bound=StrEnum)


def encode(record: KeyRecord) -> dict[str, str]:
    """Return a record as hash fields, all present; absent values are "".

    Without `version`, `change_id` and `seal`, which the store's script adds. With the unknown
    fields of the record.
    """
    return {
        **record.unknown,
        "schema": str(SCHEMA),
        "kid": record.kid,
        "status": record.status.value,
        "env": f"{PUBLIC_ENV}{record.env}" if record.public else record.env,
        "name": record.name,
        "client_id": record.client_id,
        "project_id": record.project_id,
        "tenant_id": record.tenant_id,
        "scopes": " ".join(sorted(record.scopes)),
        "secrets": json.dumps([_secret_fields(entry) for entry in record.secrets]),
        "created_at": str(record.created_at),
        "not_before": _text(record.not_before),
        "expires_at": _text(record.expires_at),
        "allowed_cidrs": " ".join(map(str, record.allowed_cidrs)),
        "allowed_hosts": " ".join(record.allowed_hosts),
        "allowed_origins": " ".join(record.allowed_origins),
        "metadata": json.dumps(dict(record.metadata)),
        "revoked_at": _text(record.revoked_at),
        "revocation_reason": record.revocation_reason.value if record.revocation_reason else "",
        "outage_grace": _text(record.outage_grace),
        "plan": record.plan,
        "limits": _limit_words(record),
    }


def decode(kid: str, found: Mapping[str, str], *, keeps_unknown: bool = False) -> KeyRecord:
    """Return the record of these hash fields. Raises Unreadable with the kid and the cause.

    The cause may be a missing or garbled field, another schema, or another kid. Unknown fields are
    ignored; with `keeps_unknown` the record has them, so that a change of it keeps them. The seal
    is not checked.
    """
    try:
        names = found.keys() - _KNOWN if keeps_unknown else ()
        return _decode(kid, found, {name: found[name] for name in names})
    except KeyError as missing:
        raise Unreadable(f"record {kid}: the field {missing} is missing") from None
    except (BadInput, ValueError, TypeError, AttributeError, RecursionError) as cause:
        raise Unreadable(f"record {kid}: {cause}") from None


def encode_event(event: AuditEvent, change_id: str, base_version: int) -> dict[str, str]:
    """Return an audit event as stream fields. base_version: the key's version before the change.

    `source` and `request_id` are absent if they are empty.
    """
    of_call = {"source": event.source, "request_id": event.request_id}
    return {
        "change_id": change_id,
        "action": event.action.value,
        "actor": event.actor,
        "note": event.note,
        "at": str(event.at),
        "detail": json.dumps(dict(event.detail)),
        "base": str(base_version),
        **{name: text for name, text in of_call.items() if text},
    }


def decode_event(found: Mapping[str, str]) -> tuple[int, AuditEvent]:
    """Return the base version and the event of these stream fields.

    Raises Unreadable if a field is missing or garbled.
    """
    try:
        event = AuditEvent(
            action=member(Action, "action", found["action"]),
            actor=found["actor"],
            note=found["note"],
            at=number("at", found["at"]),
            detail=dict(json.loads(found["detail"])),
            source=found.get("source", ""),
            request_id=found.get("request_id", ""),
        )
        return number("base", found["base"]), event
    except KeyError as missing:
        raise Unreadable(f"the field {missing} is missing") from None
    except (ValueError, TypeError, RecursionError) as cause:
        raise Unreadable(str(cause)) from None


def number(name: str, text: str) -> int:
    """Return the number. Raises ValueError unless `text` is 1 to MAX_DIGITS ASCII digits.

    name: the field, for the error. No sign is accepted, so the result is at least 0.
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS):
        raise ValueError(f"{name}: {fields.shown(text)} is not a whole number")
    return int(text)


def member(words: type[_Word], name: str, text: str) -> _Word:
    """Return the member of `words` with this value. Raises ValueError if there is none.

    name: the field, for the error.
    """
    try:
        return words(text)
    except ValueError:
        raise ValueError(f"{name}: {fields.shown(text)}: one of {', '.join(words)}") from None


def _decode(kid: str, found: Mapping[str, str], unknown: Mapping[str, str]) -> KeyRecord:
    schema = number("schema", found["schema"])
    if schema != SCHEMA:
        raise ValueError(f"it has schema {schema}, this version reads {SCHEMA}; upgrade the older")
    if found["kid"] != kid:
        raise ValueError("it belongs to another kid")
    reason = found["revocation_reason"]
    own, on_outage, throttle = _limits(_words(found["limits"]))
    env = found["env"]
    record = KeyRecord(
        kid=kid,
        version=number("version", found["version"]),
        status=member(Status, "status", found["status"]),
        env=fields.environment("env", env.removeprefix(PUBLIC_ENV)),
        public=env.startswith(PUBLIC_ENV),
        name=fields.line("name", found["name"]),
        client_id=fields.identifier("client_id", found["client_id"]),
        project_id=_optional_id("project_id", found["project_id"]),
        tenant_id=_optional_id("tenant_id", found["tenant_id"]),
        plan=_optional_id("plan", found["plan"]),
        limits=own,
        on_outage=on_outage,
        throttle=throttle,
        scopes=shared(fields.scopes("scopes", _words(found["scopes"]))),
        secrets=_secrets(found["secrets"]),
        created_at=number("created_at", found["created_at"]),
        not_before=_time("not_before", found["not_before"]),
        expires_at=_time("expires_at", found["expires_at"]),
        allowed_cidrs=fields.networks("allowed_cidrs", _words(found["allowed_cidrs"])),
        allowed_hosts=fields.hosts("allowed_hosts", _words(found["allowed_hosts"])),
        allowed_origins=fields.origins("allowed_origins", _words(found["allowed_origins"])),
        metadata=_metadata(found["metadata"]),
        revoked_at=_time("revoked_at", found["revoked_at"]),
        revocation_reason=member(RevocationReason, "revocation_reason", reason) if reason else None,
        outage_grace=_grace(found["outage_grace"]),
        unknown=unknown,
    )
    require_public(record)
    return record


def _secret_fields(entry: Secret) -> dict[str, Any]:
    return {
        "id": entry.id,
        "digest": entry.digest.hex(),
        "pepper": entry.pepper,
        "created_at": entry.created_at,
        "retires_at": entry.retires_at,
    }


def digests_of(secrets: str) -> list[bytes]:
    """Return the digests in the text of `secrets`; none of a text that cannot be read."""
    try:
        found = [bytes.fromhex(secret["digest"]) for secret in json.loads(secrets)]
    except (ValueError, TypeError, LookupError, RecursionError):
        return []
    return [digest for digest in found if digest]


def _secrets(text: str) -> tuple[Secret, ...]:
    found = json.loads(text)
    if not isinstance(found, list) or not found:
        raise ValueError("secrets: not a list with an entry")
    return tuple(map(_secret, found))


def _secret(found: dict[str, Any]) -> Secret:
    digest, pepper, retires_at = (
        bytes.fromhex(found["digest"]),
        found["pepper"],
        found["retires_at"],
    )
    if len(digest) not in {0, 32}:
        raise ValueError("secrets: a digest has the wrong length")
    if len(pepper) != 1 or pepper not in base62.DIGITS:
        raise ValueError("secrets: a pepper version is one character of 0-9 A-Z a-z")
    return Secret(
        id=str(number("secrets", found["id"])),
        digest=digest,
        pepper=pepper,
        created_at=_json_time(found["created_at"]),
        retires_at=None if retires_at is None else _json_time(retires_at),
    )


def _json_time(found: Any) -> int:
    if type(found) is not int or found < 0:
        raise ValueError("secrets: a time is not a whole number")
    return found


def _metadata(text: str) -> dict[str, str]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise TypeError("metadata: not an object")
    return fields.metadata("metadata", found)


def _limit_words(record: KeyRecord) -> str:
    """Return the limits, then the throttle, then `on_outage`.

    An older version finds a record with one of the last two unreadable.
    """
    words = list(map(str, record.limits))
    if record.throttle:
        words.append(f"{THROTTLE}{record.throttle.stored()}")
    if record.on_outage:
        words.append(f"{ON_OUTAGE}{record.on_outage}")
    return " ".join(words)


def _limits(words: list[str]) -> tuple[tuple[Limit, ...], OnOutage | None, Throttle | None]:
    on_outage = throttle = None
    if words and words[-1].startswith(ON_OUTAGE):
        on_outage = parse_on_outage("limits", words.pop().removeprefix(ON_OUTAGE))
    if words and words[-1].startswith(THROTTLE):
        throttle = of_stored(words.pop().removeprefix(THROTTLE))
    return parse_limits("limits", words), on_outage, throttle


def _words(text: str) -> list[str]:
    # Split at single spaces. Splitting at any white space would read " " as no restriction.
    return text.split(" ") if text else []


def _optional_id(name: str, text: str) -> str:
    return fields.identifier(name, text) if text else ""


def _time(name: str, text: str) -> int | None:
    return number(name, text) if text else None


def _grace(text: str) -> int | None:
    amount = _time("outage_grace", text)
    if amount is not None and amount > fields.MAX_OUTAGE_GRACE_MS:
        raise ValueError("outage_grace: longer than a day")
    return amount


def _text(time: int | None) -> str:
    return "" if time is None else str(time)


_EMPTY: Final = KeyRecord(
    kid="", version=0, status=Status.ACTIVE, env="", client_id="", created_at=0, secrets=()
)
_KNOWN: Final = OF_SCRIPT.union(encode(_EMPTY))
