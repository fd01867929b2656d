"""Rows of the audit trail, and the mark that proves who wrote one.

The id of a row is `NUMBER-PART`. An entry about a change has the number of this change and part 0.
Rows with another part stand after it: checkpoints, and entries that were written late. A row
without a kid is about the trail itself. Versions that do not know it skip it.

A mark is an HMAC over all other fields, under a key derived from the pepper (RFC 2104, RFC 5869).
It does not cover the id: the store chooses the number of a change, after the writer made the mark.
"""

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from hashlib import sha256
from typing import Final

from authz.core.keys.pepper import Mac, hmac_sha256

MARK: Final = "mac"
CHECKPOINT: Final = "checkpoint"
RESTORE: Final = "restore"
REMOVED: Final = "entries"  # in the detail of a deletion: ids and hashes of the removed entries
MARK_BYTES: Final = 16  # half of the hash, the least that RFC 2104 section 5 advises
START: Final = bytes(32)  # the hash of no rows

_TOO_LARGE: Final = 2**64
_MOST_DIGITS: Final = len(str(_TOO_LARGE))

_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False)


@dataclass(frozen=True, slots=True)
class Row:
    """One row as the store has it. id: `NUMBER-PART`, not checked."""

    id: str
    fields: Mapping[str, str]

    @property
    def kid(self) -> str:
        """The key that the row is about; empty if it is about the trail."""
        return self.fields.get("kid", "")


class Proof(Enum):
    """The result of checking a mark."""

    VALID = auto()
    WRONG = auto()
    ABSENT = auto()  # the row has no mark
    UNKNOWN = auto()  # its pepper is missing here


class TrailKeys:
    """The keys of marks by pepper version, at least one. The last, the newest, marks new rows."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._macs = {version: hmac_sha256(key) for version, key in keys.items()}
        self._newest = list(self._macs)[-1]

    def marked(self, fields: Mapping[str, str]) -> dict[str, str]:
        """Return a copy of the fields with a mark by the newest pepper, in the field `mac`."""
        mac = _text(self._macs[self._newest], fields)
        return {**fields, MARK: f"{self._newest}:{mac}"}

    def check(self, fields: Mapping[str, str]) -> Proof:
        """Return the result of checking the mark in `mac` against all other fields."""
        mark = fields.get(MARK)
        if mark is None:
            return Proof.ABSENT
        version, _, given = mark.partition(":")
        mac = self._macs.get(version)
        if mac is None:
            return Proof.UNKNOWN
        right = hmac.compare_digest(_text(mac, fields).encode(), given.encode(errors="replace"))
        return Proof.VALID if right else Proof.WRONG


def position(row_id: str) -> tuple[int, int]:
    """Return number and part of an id, each below 2^64 as in the store.

    Raises ValueError if it is not `NUMBER-PART`.
    """
    number, dash, part = row_id.partition("-")
    texts = (number, part)
    if dash and all(t.isascii() and t.isdecimal() and len(t) <= _MOST_DIGITS for t in texts):
        found = int(number), int(part)
        if max(found) < _TOO_LARGE:
            return found
    raise ValueError(f"{row_id[:40]!r} is not the id of a row")


def following(row_id: str) -> str:
    """Return the next id of the same number. Raises ValueError as `position`."""
    number, part = position(row_id)
    return f"{number}-{part + 1}"


def row_hash(row_id: str, fields: Mapping[str, str]) -> bytes:
    """Return the SHA-256 of a row: its id and all its fields, the mark too, sorted by name.

    An entry has a random change id, so its content cannot be guessed from the hash.
    """
    return sha256(_canonical([row_id, sorted(fields.items())])).digest()


def chained(before: bytes, digest: bytes) -> bytes:
    """Return the hash of a trail up to a row, from that of the rows before it and the row's own."""
    return sha256(before + digest).digest()


def _text(mac: Mac, fields: Mapping[str, str]) -> str:
    kept = dict(fields)
    kept.pop(MARK, None)
    digest = mac(_canonical(sorted(kept.items())))[:MARK_BYTES]
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def _canonical(value: object) -> bytes:
    return _ENCODER.encode(value).encode()
