"""Every name and every format in the store. Nothing else in this package spells one out.

    authz:meta                      hash    schema, pepper:<version> -> fingerprint
    authz:{p}:key:<kid>             hash    one key, the fields below, all always present
    authz:{p}:seq                   string  sequence number of the last change
    authz:{p}:log                   stream  seq-0 -> kid, status, at: the recent changes
    authz:{p}:changes               channel "seq kid status"
    authz:{p}:audit                 stream  seq-0 -> who did what, when and why; never trimmed here
    authz:{p}:keys                  zset    kid by creation time
    authz:{p}:client:<client_id>    zset    kid by creation time

All that one change touches shares the hash tag {p}, so it lies in one Cluster slot.
Times are milliseconds since the epoch; an absent value is the empty string. A field that is missing
or garbled makes the record Unreadable: a restriction that was lost must not become a permission.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from authz.core import fields
from authz.core.changes import AuditEvent
from authz.core.errors import BadInput, Unreadable
from authz.core.records import KeyRecord, RevocationReason, Secret, Status

SCHEMA: Final = 1
PARTITION: Final = 0
LOG_LENGTH: Final = 100_000

_TAG: Final = f"authz:{{{PARTITION}}}"
META: Final = "authz:meta"
SEQ: Final = f"{_TAG}:seq"
LOG: Final = f"{_TAG}:log"
CHANGES: Final = f"{_TAG}:changes"
AUDIT: Final = f"{_TAG}:audit"
KEYS: Final = f"{_TAG}:keys"

META_SCHEMA: Final = "schema"
META_PEPPER: Final = "pepper:"
CHANGE_ID: Final = "change_id"  # in a key's hash: the change that wrote it

# Enforced by a later schema only. A record that uses one must not be read as if it did not.
NOT_YET_ENFORCED: Final = ("plan", "limits", "outage_grace")


def key(kid: str) -> str:
    """The hash of one key."""
    return f"{_TAG}:key:{kid}"


def client(client_id: str) -> str:
    """The index of one client's keys."""
    return f"{_TAG}:client:{client_id}"


def encode(record: KeyRecord) -> dict[str, str]:
    """A record as hash fields, `version` apart: the store gives that."""
    return {
        "schema": str(SCHEMA),
        "kid": record.kid,
        "status": record.status.value,
        "env": record.env,
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
        **dict.fromkeys(NOT_YET_ENFORCED, ""),
    }


def decode(kid: str, found: Mapping[str, str]) -> KeyRecord:
    """A record from hash fields. Raises Unreadable, which names the kid and the cause."""
    try:
        return _decode(kid, found)
    except KeyError as missing:
        raise Unreadable(f"record {kid}: the field {missing} is missing") from None
    except (BadInput, ValueError, TypeError) as cause:
        raise Unreadable(f"record {kid}: {fields.shown(str(cause))}") from None


def encode_event(event: AuditEvent, change_id: str) -> dict[str, str]:
    """An audit event as stream fields."""
    return {
        "change_id": change_id,
        "action": event.action.value,
        "actor": event.actor,
        "note": event.note,
        "at": str(event.at),
        "detail": json.dumps(dict(event.detail)),
    }


def decode_notice(text: str) -> tuple[int, str, bool]:
    """`seq kid status` -> (seq, kid, revoked). Words after these are for later versions.

    Raises ValueError when it is something else.
    """
    seq, kid, status, *_ = text.split(" ")
    return int(seq), fields.kid("kid", kid), status == Status.REVOKED


def _decode(kid: str, found: Mapping[str, str]) -> KeyRecord:
    schema = int(found["schema"])
    if schema > SCHEMA:
        raise ValueError(f"schema {schema} is newer than {SCHEMA}; upgrade this process")
    if found["kid"] != kid:
        raise ValueError("it belongs to another kid")
    for name in NOT_YET_ENFORCED:
        if found[name]:
            raise ValueError(f"{name} is not yet enforced by this version")
    reason = found["revocation_reason"]
    secrets = tuple(_secret(entry) for entry in json.loads(found["secrets"]))
    if not secrets:
        raise ValueError("it has no secret")
    return KeyRecord(
        kid=kid,
        version=int(found["version"]),
        status=Status(found["status"]),
        env=fields.environment("env", found["env"]),
        name=fields.line("name", found["name"]),
        client_id=fields.identifier("client_id", found["client_id"]),
        project_id=_optional_id("project_id", found["project_id"]),
        tenant_id=_optional_id("tenant_id", found["tenant_id"]),
        scopes=fields.scopes("scopes", found["scopes"].split()),
        secrets=secrets,
        created_at=int(found["created_at"]),
        not_before=_number(found["not_before"]),
        expires_at=_number(found["expires_at"]),
        allowed_cidrs=fields.networks("allowed_cidrs", found["allowed_cidrs"].split()),
        allowed_hosts=fields.hosts("allowed_hosts", found["allowed_hosts"].split()),
        allowed_origins=fields.origins("allowed_origins", found["allowed_origins"].split()),
        metadata=_metadata(found["metadata"]),
        revoked_at=_number(found["revoked_at"]),
        revocation_reason=RevocationReason(reason) if reason else None,
    )


def _secret_fields(entry: Secret) -> dict[str, Any]:
    return {
        "id": entry.id,
        "digest": entry.digest.hex(),
        "pepper": entry.pepper,
        "created_at": entry.created_at,
        "retires_at": entry.retires_at,
    }


def _secret(found: dict[str, Any]) -> Secret:
    digest = bytes.fromhex(found["digest"])
    if len(digest) not in {0, 32}:
        raise ValueError("a digest has the wrong length")
    retires_at = found["retires_at"]
    return Secret(
        id=str(int(found["id"])),
        digest=digest,
        pepper=str(found["pepper"]),
        created_at=int(found["created_at"]),
        retires_at=None if retires_at is None else int(retires_at),
    )


def _metadata(text: str) -> dict[str, str]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise TypeError("metadata is not an object")
    return fields.metadata("metadata", found)


def _optional_id(name: str, text: str) -> str:
    return fields.identifier(name, text) if text else ""


def _text(number: int | None) -> str:
    return "" if number is None else str(number)


def _number(text: str) -> int | None:
    return int(text) if text else None
