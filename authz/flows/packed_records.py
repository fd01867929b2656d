"""PackedRecords: records by kid, packed as bytes with a deadline. Records in use are also unpacked.

A KeyRecord object takes more than 1 kB, and the garbage collector stops the event loop to scan it.
Packed it takes 0.35 kB with its dict entry, and the collector has nothing to scan.

Rules:
1. Every record is packed when it is put. The unpacked copy may be dropped at any moment.
2. Bounded: the oldest packed record makes room, and so does the oldest unpacked copy.
3. One call packs or unpacks at most one record. Operations on all records only copy bytes.
"""

import ipaddress
import marshal
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import lru_cache
from itertools import starmap
from operator import attrgetter
from typing import Any, Final

from authz.core.bounded import BoundedDict
from authz.core.limits.limit import Limit, OnOutage, parse_limits
from authz.core.limits.throttle import of_stored
from authz.core.records import KeyRecord, RevocationReason, Secret, Status
from authz.core.scopes import shared

MAX_IN_USE: Final = 8_192
NEVER: Final = float("-inf")
_APART: Final = ("kid", "unknown")

Entry = tuple[KeyRecord, float]
_NAMES: Final = tuple(f.name for f in fields(KeyRecord) if f.init and f.name not in _APART)
_values: Final = attrgetter(*_NAMES)
_secret_values: Final = attrgetter(*(field.name for field in fields(Secret)))
# The values that most records have, by field: those of a new key, else the default. They are left
# out.
_USUAL: Final[Mapping[str, Any]] = {
    "status": Status.ACTIVE.value,
    "env": "live",
    "metadata": {},
    **{f.name: f.default for f in fields(KeyRecord) if f.default is not MISSING},
}
_PLACES: Final = tuple(1 << place for place in range(len(_NAMES)))
_USUAL_VALUES: Final = tuple(_USUAL.get(name, object()) for name in _NAMES)


def pack(record: KeyRecord, deadline: float = NEVER) -> bytes:
    """Return record and deadline as bytes for this process only (marshal). The kid is left out.

    deadline: monotonic seconds; NEVER: never current.
    """
    plain = dict(zip(_NAMES, _values(record), strict=True))
    reason = record.revocation_reason
    plain["status"] = record.status.value
    plain["revocation_reason"] = reason and reason.value
    plain["secrets"] = tuple(map(_secret_values, record.secrets))
    plain["allowed_cidrs"] = tuple(map(str, record.allowed_cidrs))
    plain["metadata"] = dict(record.metadata)
    plain["limits"] = tuple(map(str, record.limits))
    plain["on_outage"] = record.on_outage and record.on_outage.value
    plain["throttle"] = record.throttle and record.throttle.stored()
    places, given = 0, []
    for place, value, usual in zip(_PLACES, plain.values(), _USUAL_VALUES, strict=True):
        if value != usual:
            places |= place
            given.append(value)
    return marshal.dumps((deadline, places, *given))


def unpack(kid: str, packed: bytes) -> Entry:
    """Return the record and the deadline (monotonic seconds) that `pack` packed."""
    deadline, places, *given = marshal.loads(packed)  # noqa: S302  made by `pack`
    plain: dict[str, Any] = {**_USUAL, **dict(zip(_names(places), given, strict=True))}
    reason = plain["revocation_reason"]
    plain["status"] = Status(plain["status"])
    plain["revocation_reason"] = reason and RevocationReason(reason)
    plain["secrets"] = tuple(starmap(Secret, plain["secrets"]))
    plain["allowed_cidrs"] = tuple(map(ipaddress.ip_network, plain["allowed_cidrs"]))
    plain["metadata"] = dict(plain["metadata"])
    plain["limits"] = _limits(plain["limits"])
    plain["scopes"] = shared(plain["scopes"])
    plain["on_outage"] = plain["on_outage"] and OnOutage(plain["on_outage"])
    plain["throttle"] = plain["throttle"] and of_stored(plain["throttle"])
    return KeyRecord(kid=kid, **plain), deadline


@lru_cache(1024)
def _names(places: int) -> tuple[str, ...]:
    """Return the names of the fields that are not left out."""
    return tuple(name for place, name in enumerate(_NAMES) if places >> place & 1)


@lru_cache(4096)
def _limits(texts: tuple[str, ...]) -> tuple[Limit, ...]:
    """Parse limits, and cache the result: many keys have the same ones."""
    return parse_limits("limits", texts)


class PackedRecords:
    """At most `max_entries` records, of which at most `max_in_use` are also unpacked.

    in_use: returns record and deadline of a kid if it is unpacked, else None; it unpacks nothing.
    """

    def __init__(self, max_entries: int, max_in_use: int = MAX_IN_USE) -> None:
        self._max_entries = max_entries
        self._packed: dict[str, bytes] = {}  # not a BoundedDict, which takes 150 bytes more each
        self._in_use: BoundedDict[str, Entry] = BoundedDict(max_in_use)
        self.in_use = self._in_use.get

    def __len__(self) -> int:
        return len(self._packed)

    def fetch(self, kid: str) -> Entry | None:
        """Return record and deadline, or None. Keeps the record unpacked; `in_use` then finds it.

        An entry past its deadline is returned too.
        """
        entry = self._in_use.get(kid)
        if entry is None and (packed := self._packed.get(kid)) is not None:
            entry = unpack(kid, packed)
            self._in_use.put(kid, entry)
        return entry

    def put(self, record: KeyRecord, deadline: float) -> bool:
        """Put a record in place of its predecessor, as the newest one.

        Return True if the oldest record was dropped to make room. deadline: monotonic seconds.
        """
        kid = record.kid
        self.pop(kid)
        self._packed[kid] = pack(record, deadline)
        self._in_use.put(kid, (record, deadline))
        return self._make_room()

    def pop(self, kid: str) -> None:
        """Drop a record, packed and unpacked. Do nothing if there is none."""
        self._packed.pop(kid, None)
        self._in_use.pop(kid, None)

    def clear(self) -> None:
        """Drop all records."""
        self._packed.clear()
        self._in_use.clear()

    @property
    def packed(self) -> Mapping[str, bytes]:
        """All packed records by kid, oldest first. This is the live dict: copy it to keep it."""
        return self._packed

    def update(self, packed: Mapping[str, bytes]) -> None:
        """Add packed records by kid, newer than all others. Drop all unpacked copies.

        A kid that is there already gets the new record, and keeps its place in the order of age.
        The oldest records above `max_entries` are dropped.
        """
        self._in_use.clear()
        self._packed.update(packed)
        while self._make_room():
            pass

    def _make_room(self) -> bool:
        if len(self._packed) <= self._max_entries:
            return False
        self.pop(next(iter(self._packed)))
        return True
