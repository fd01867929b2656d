"""Seals: HMACs by which a reader knows that a holder of the pepper wrote a record.

A writer of the store who has no pepper can make no seal. The seal of a key record covers
all its fields, also those that this version does not know. The seal of a sidecar's registry entry
covers all its members. The seal of applied fields, see merging.py, covers the kid and all members.
The keys are derived from the pepper (RFC 5869), with a label for each kind of seal.

A seal of a record names the version of the record that it is for. An earlier version of authz
leaves the seal alone when it changes a record, so the record then counts as unsealed, not as
altered.

    seal of a record          PEPPER:VERSION:MAC
    seals of an entry         PEPPER:MAC for each pepper of its writer, with spaces between them
    seal of applied fields    PEPPER:MAC
"""

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from enum import Enum, auto
from hashlib import sha256
from typing import Any, Final

from authz.core.keys.pepper import hmac_sha256

SEAL: Final = "seal"
VERSION: Final = "version"
MAC_BYTES: Final = 16  # half of the hash, the least that RFC 2104 section 5 advises
MAC_LENGTH: Final = 22  # of its text

_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False)


class Seal(Enum):
    """The result of checking a seal."""

    VALID = auto()
    OLDER = auto()  # valid, under a pepper that is not the newest
    ABSENT = auto()  # there is none, or it is for another version of the record
    WRONG = auto()
    UNKNOWN = auto()  # its pepper is missing here


class _Peppers:
    """The MACs of one kind of seal. keys: by pepper version, the newest last; that one seals."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._macs = {version: hmac_sha256(key) for version, key in keys.items()}
        self.newest = list(self._macs)[-1]
        self.mac = self._macs[self.newest]

    def check(self, pepper: str, text: bytes, given: str) -> Seal:
        """Return whether `given` is the MAC of `text` under this pepper. Never ABSENT."""
        mac = self._macs.get(pepper)
        if mac is None:
            return Seal.UNKNOWN
        if not _is_right(mac(text), given):
            return Seal.WRONG
        return Seal.VALID if pepper == self.newest else Seal.OLDER


class RecordSeals:
    """Makes and checks the seals of key records. keys: by pepper version, the newest last."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._peppers = _Peppers(keys)

    def candidates(self, kid: str, fields: Mapping[str, str], first: int, count: int) -> str:
        """Return the seals of a record for each of `count` versions from `first` on.

        The store chooses the version of a change, so its script chooses the seal. fields: all of
        the record; its version and seal are ignored. The text is `PEPPER:FIRST:` and the MACs.
        """
        macs = map(_text, self._macs(kid, fields, first, count))
        return f"{self._peppers.newest}:{first}:{''.join(macs)}"

    def raw_candidates(self, kid: str, fields: Mapping[str, str], first: int, count: int) -> bytes:
        """Return the same as `candidates`, with MACs of MAC_BYTES (16) bytes in place of text."""
        macs = (mac[:MAC_BYTES] for mac in self._macs(kid, fields, first, count))
        return f"{self._peppers.newest}:{first}:".encode() + b"".join(macs)

    def _macs(self, kid: str, fields: Mapping[str, str], first: int, count: int) -> Iterator[bytes]:
        digest, mac = _digest(kid, fields), self._peppers.mac
        return (mac(digest + str(first + at).encode()) for at in range(count))

    def seal(self, kid: str, fields: Mapping[str, str]) -> str:
        """Return the seal of a record as it is. fields: all of them, its version included."""
        version = fields[VERSION]
        mac = self._peppers.mac(_digest(kid, fields) + version.encode())
        return f"{self._peppers.newest}:{version}:{_text(mac)}"

    def check(self, kid: str, fields: Mapping[str, str]) -> Seal:
        """Return whether the seal among the fields of a stored record is right."""
        pepper, _, rest = fields.get(SEAL, "").partition(":")
        version, _, given = rest.partition(":")
        if not rest or version != fields.get(VERSION):
            return Seal.ABSENT
        return self._peppers.check(pepper, _digest(kid, fields) + _bytes(version), given)


class EntrySeals:
    """Makes and checks the seals of sidecars' registry entries. keys: by pepper version.

    An entry has a seal under each pepper of its sidecar: a reader may lack the newest one.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._macs = {version: hmac_sha256(key) for version, key in keys.items()}

    def sealed(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Return the entry with its seals. Its values are those that JSON can hold."""
        text = _canonical(sorted(entry.items()))
        seals = (f"{version}:{_text(mac(text))}" for version, mac in self._macs.items())
        return {**entry, SEAL: " ".join(seals)}

    def check(self, entry: Mapping[str, Any]) -> Seal:
        """Return VALID if a seal of the entry is right under a pepper that we have."""
        found = entry.get(SEAL)
        if not isinstance(found, str) or not found:
            return Seal.ABSENT
        text = _canonical(sorted((name, one) for name, one in entry.items() if name != SEAL))
        result = Seal.UNKNOWN
        for word in found.split(" "):
            version, _, given = word.partition(":")
            mac = self._macs.get(version)
            if mac is not None and _is_right(mac(text), given):
                return Seal.VALID
            if mac is not None:
                result = Seal.WRONG
        return result


class AppliedSeals:
    """Makes and checks the seals of the fields that files last declared.

    keys: by pepper version, the newest last; that one seals.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._peppers = _Peppers(keys)

    def sealed(self, kid: str, members: Mapping[str, Any]) -> dict[str, Any]:
        """Return the members with a seal for this kid. Values are those that JSON can hold."""
        mac = self._peppers.mac(_of_applied(kid, members))
        return {**members, SEAL: f"{self._peppers.newest}:{_text(mac)}"}

    def check(self, kid: str, members: Mapping[str, Any]) -> Seal:
        """Return whether the seal among the members is right for this kid."""
        found = members.get(SEAL)
        if not isinstance(found, str) or not found:
            return Seal.ABSENT
        pepper, _, given = found.partition(":")
        return self._peppers.check(pepper, _of_applied(kid, members), given)


def _of_applied(kid: str, members: Mapping[str, Any]) -> bytes:
    return _canonical([kid, sorted(pair for pair in members.items() if pair[0] != SEAL)])


def _digest(kid: str, fields: Mapping[str, str]) -> bytes:
    """Return the SHA-256 of kid and fields, without version and seal.

    The version follows it in the input of the MAC. The digest has a fixed length, and JSON of
    sorted pairs has one reading, so no two records have the same input.
    """
    kept = dict(fields)
    kept.pop(SEAL, None)
    kept.pop(VERSION, None)
    return sha256(_canonical([kid, sorted(kept.items())])).digest()


def _canonical(value: object) -> bytes:
    return _ENCODER.encode(value).encode()


def _is_right(mac: bytes, given: str) -> bool:
    return hmac.compare_digest(_text(mac).encode(), _bytes(given))


def _text(mac: bytes) -> str:
    return urlsafe_b64encode(mac[:MAC_BYTES]).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")
