"""PackedRecords: records by kid, each with a deadline, as bytes; those in use also as they are.

A record as an object takes 1.4 kB, and the garbage collector stops the event loop to walk through
it. As bytes it takes 0.4 kB with its place here, and the collector has nothing to walk through.

Rules:
1. Every record is packed when it is put. What is in use is only at hand: it may be dropped at any
   moment, and packing loses nothing.
2. Bounded: the record that was put longest ago makes room, and of those in use the one that was
   taken into use longest ago.
3. At most one record is packed or unpacked by a call. What is done with all is done with bytes.
"""

import ipaddress
import marshal
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from itertools import starmap
from operator import attrgetter
from typing import Any, Final

from authz.core.limits.limit import Limit, OnOutage, parse_limits
from authz.core.records import KeyRecord, RevocationReason, Secret, Status

MAX_IN_USE: Final = 8_192
NEVER: Final = float("-inf")

Entry = tuple[KeyRecord, float]
_NAMES: Final = tuple(field.name for field in fields(KeyRecord))
_values: Final = attrgetter(*_NAMES)
_secret_values: Final = attrgetter(*(field.name for field in fields(Secret)))


def pack(record: KeyRecord, deadline: float = NEVER) -> bytes:
    """As bytes, in a format of Python's own (marshal): only for the process that made them."""
    plain = dict(zip(_NAMES, _values(record), strict=True))
    reason = record.revocation_reason
    plain["status"] = record.status.value
    plain["revocation_reason"] = reason and reason.value
    plain["secrets"] = tuple(map(_secret_values, record.secrets))
    plain["allowed_cidrs"] = tuple(map(str, record.allowed_cidrs))
    plain["metadata"] = dict(record.metadata)
    plain["limits"] = tuple(map(str, record.limits))
    plain["on_outage"] = record.on_outage and record.on_outage.value
    return marshal.dumps((deadline, *plain.values()))


def unpack(packed: bytes) -> Entry:
    """The record and the deadline that `pack` was given."""
    deadline, *values = marshal.loads(packed)  # noqa: S302  made by `pack`
    plain: dict[str, Any] = dict(zip(_NAMES, values, strict=True))
    reason = plain["revocation_reason"]
    plain["status"] = Status(plain["status"])
    plain["revocation_reason"] = reason and RevocationReason(reason)
    plain["secrets"] = tuple(starmap(Secret, plain["secrets"]))
    plain["allowed_cidrs"] = tuple(map(ipaddress.ip_network, plain["allowed_cidrs"]))
    plain["limits"] = _limits(plain["limits"])
    plain["on_outage"] = plain["on_outage"] and OnOutage(plain["on_outage"])
    return KeyRecord(**plain), deadline


@lru_cache(4096)
def _limits(texts: tuple[str, ...]) -> tuple[Limit, ...]:
    """Many keys have the same."""
    return parse_limits("limits", texts)


class PackedRecords:
    """At most `max_entries` records; of those at most `max_in_use` also unpacked."""

    def __init__(self, max_entries: int, max_in_use: int = MAX_IN_USE) -> None:
        self._max_entries = max_entries
        self._max_in_use = max_in_use
        self._packed: dict[str, bytes] = {}
        self._in_use: OrderedDict[str, Entry] = OrderedDict()
        self.at_hand = self._in_use.get

    def __len__(self) -> int:
        return len(self._packed)

    def fetch(self, kid: str) -> Entry | None:
        """A record and its deadline. `at_hand` is the same for those in use, and faster."""
        entry = self._in_use.get(kid)
        if entry is None and (packed := self._packed.get(kid)) is not None:
            entry = unpack(packed)
            self._use(kid, entry)
        return entry

    def put(self, record: KeyRecord, deadline: float) -> bool:
        """Keep a record in place of the one that was there. Did another have to make room?"""
        kid = record.kid
        self.pop(kid)
        self._packed[kid] = pack(record, deadline)
        self._use(kid, (record, deadline))
        return self._make_room()

    def pop(self, kid: str) -> None:
        """Keep it no more."""
        self._packed.pop(kid, None)
        self._in_use.pop(kid, None)

    def clear(self) -> None:
        """Keep nothing."""
        self._packed.clear()
        self._in_use.clear()

    @property
    def packed(self) -> Mapping[str, bytes]:
        """All by kid, the one that was put longest ago first. A live view: copy it to keep it."""
        return self._packed

    def update(self, packed: Mapping[str, bytes]) -> None:
        """Keep these in place of those that were there."""
        self._in_use.clear()
        self._packed.update(packed)
        while self._make_room():
            pass

    def _use(self, kid: str, entry: Entry) -> None:
        if len(self._in_use) >= self._max_in_use:
            self._in_use.popitem(last=False)
        self._in_use[kid] = entry

    def _make_room(self) -> bool:
        if len(self._packed) <= self._max_entries:
            return False
        self.pop(next(iter(self._packed)))
        return True
