"""A record as one string of bytes, and back.

For records that are kept but not in use: a string costs a third of the memory, and the garbage
collector has nothing to walk in it. Only for this process: the format is Python's own (marshal).
"""

import ipaddress
import marshal
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final

from authz.core.records import KeyRecord, RevocationReason, Secret, Status

_NAMES: Final = tuple(field.name for field in fields(KeyRecord))
_SECRET_NAMES: Final = tuple(field.name for field in fields(Secret))
_values: Final = attrgetter(*_NAMES)
_secret_values: Final = attrgetter(*_SECRET_NAMES)


def pack(record: KeyRecord) -> bytes:
    """`record` as bytes."""
    plain: dict[str, Any] = dict(zip(_NAMES, _values(record), strict=True))
    reason = record.revocation_reason
    plain["status"] = record.status.value
    plain["revocation_reason"] = reason and reason.value
    plain["secrets"] = tuple(_secret_values(entry) for entry in record.secrets)
    plain["allowed_cidrs"] = tuple(map(str, record.allowed_cidrs))
    plain["metadata"] = tuple(record.metadata.items())
    return marshal.dumps(tuple(plain.values()))


def unpack(packed: bytes) -> KeyRecord:
    """The record that `pack` was given."""
    plain: dict[str, Any] = dict(zip(_NAMES, marshal.loads(packed), strict=True))  # noqa: S302  our own
    reason = plain["revocation_reason"]
    plain["status"] = Status(plain["status"])
    plain["revocation_reason"] = reason and RevocationReason(reason)
    plain["secrets"] = tuple(Secret(*entry) for entry in plain["secrets"])
    plain["allowed_cidrs"] = tuple(map(ipaddress.ip_network, plain["allowed_cidrs"]))
    plain["metadata"] = dict(plain["metadata"])
    return KeyRecord(**plain)
