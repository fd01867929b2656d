"""The compact form of a record: one string in place of a hash, in a fifth of the memory.

A record is the same mapping of fields in both forms, so its seal is the same, too. Numbers are
big-endian. The scripts read and write the first four parts by their places:

    place  bytes  content
    0      1      form: FORM. A higher one is that of a newer version
    1      7      version
    8      16     mark of the change id: see `change_mark`
    24     1      pepper version of the seal, a digit of base 62; 0 without a seal
    25     16     MAC of the seal; zeros without a seal
    41            the other fields: see field_codec.py

Each record has exactly one compact form, and other texts are refused. So a changed byte changes the
record, or makes it unreadable.
"""

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from typing import Any, Final

from authz.core.errors import Unreadable
from authz.core.keys import base62
from authz.core.seals import MAC_BYTES, SEAL, VERSION
from authz.storage.field_codec import (
    DAMAGED,
    Field,
    FieldCodec,
    as_bytes,
    length,
    number_field,
    pack_number,
    read_length,
    read_number,
)

FORM: Final = 1
MARK_BYTES: Final = 16
VERSION_BYTES: Final = 7
HEAD: Final = 1 + VERSION_BYTES + MARK_BYTES + 1 + MAC_BYTES
CHANGE_ID: Final = "change_id"

_MARK_AT: Final = 1 + VERSION_BYTES
_PEPPER_AT: Final = _MARK_AT + MARK_BYTES
_MAC_AT: Final = _PEPPER_AT + 1
_NO_MARK: Final = bytes(MARK_BYTES)
_NO_SEAL: Final = bytes(1 + MAC_BYTES)


def change_mark(change_id: str) -> bytes:
    """Return the bytes by which a record names its last change. change_id: "" if it has none.

    They are the id itself if it is 32 lower-case hexadecimal digits, as ours are, and else the
    start of its SHA-256. Zeros without an id.
    """
    if not change_id:
        return _NO_MARK
    return raw_id(change_id) or hashlib.sha256(as_bytes(change_id)).digest()[:MARK_BYTES]


def raw_id(change_id: str) -> bytes:
    """Return the bytes of a change id that is as ours are; empty for any other."""
    try:
        raw = bytes.fromhex(change_id)
    except ValueError:
        return b""
    return raw if len(raw) == MARK_BYTES and raw.hex() == change_id and raw != _NO_MARK else b""


def body(fields: Mapping[str, str]) -> bytes:
    """Return the part behind the seal. fields: all of a record; version and seal are ignored.

    Raises ValueError if a field is missing or is not as `encoding.encode` writes it.
    """
    if raw_id(fields.get(CHANGE_ID, "")):
        fields = {name: text for name, text in fields.items() if name != CHANGE_ID}
    return _CODEC.pack(fields)


def pack(fields: Mapping[str, str]) -> bytes:
    """Return the compact form of a record. fields: all that are stored.

    A seal for another version than the record's proves nothing and is left out. Raises ValueError
    if the fields are not as `encoding.encode` and the scripts write them.
    """
    version = fields.get(VERSION, "")
    number = int.from_bytes(pack_number(version))
    if number >= 1 << 8 * VERSION_BYTES:
        raise ValueError("version: too large")
    head = bytes((FORM,)) + number.to_bytes(VERSION_BYTES) + change_mark(fields.get(CHANGE_ID, ""))
    return head + _packed_seal(fields.get(SEAL, ""), version) + body(fields)


def unpack(kid: str, text: bytes) -> dict[str, str]:
    """Return the fields of a compact record, as the hash would have them.

    Raises Unreadable if it is damaged, or has the form of a newer version. Values are not checked:
    `encoding.decode` does that. kid: for the error.
    """
    try:
        return _unpacked(text)
    except (ValueError, IndexError):
        if text[:1] > bytes((FORM,)):
            why = f"it has form {text[0]}, this version reads {FORM}; upgrade the older"
        else:
            why = DAMAGED
        raise Unreadable(f"record {kid}: {why}") from None


def _unpacked(text: bytes) -> dict[str, str]:
    if len(text) < HEAD or text[0] != FORM:
        raise ValueError(DAMAGED)
    found = _CODEC.read(text, HEAD)
    found[VERSION] = version = str(int.from_bytes(text[1:_MARK_AT]))
    marked = text[_MARK_AT:_PEPPER_AT]
    change_id = found.get(CHANGE_ID)
    if change_id is None and marked != _NO_MARK:
        found[CHANGE_ID] = marked.hex()
    elif change_id is not None and (raw_id(change_id) or change_mark(change_id) != marked):
        raise ValueError(DAMAGED)
    if text[_PEPPER_AT:HEAD] != _NO_SEAL:
        pepper = chr(text[_PEPPER_AT])
        if pepper not in base62.DIGITS:
            raise ValueError(DAMAGED)
        found[SEAL] = f"{pepper}:{version}:{_mac_text(text[_MAC_AT:HEAD])}"
    return found


def _packed_seal(seal: str, version: str) -> bytes:
    pepper, _, rest = seal.partition(":")
    sealed, _, given = rest.partition(":")
    if not rest or sealed != version:
        return _NO_SEAL
    mac = urlsafe_b64decode(f"{given}==")
    if len(mac) != MAC_BYTES or _mac_text(mac) != given:
        raise ValueError(f"seal: {DAMAGED}")
    if len(pepper) != 1 or pepper not in base62.DIGITS:
        raise ValueError(f"seal: {DAMAGED}")
    return pepper.encode() + mac


def _mac_text(mac: bytes) -> str:
    return urlsafe_b64encode(mac).rstrip(b"=").decode()


def _pack_secrets(text: str) -> bytes:
    """Return for each secret its number, digest, pepper, creation, and end + 1 or 0."""
    try:
        value = b"".join(map(_packed_secret, json.loads(text)))
        if _read_secrets(value) == text:
            return value
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError):
        pass
    raise ValueError("secrets: not as this version writes them")


def _packed_secret(found: Any) -> bytes:
    digest, retires_at = bytes.fromhex(found["digest"]), found["retires_at"]
    end = 0 if retires_at is None else retires_at + 1
    head = length(int(found["id"])) + length(len(digest)) + digest + as_bytes(found["pepper"])
    return head + length(found["created_at"]) + length(end)


def _read_secrets(value: bytes) -> str:
    return f"[{', '.join(_each_secret(value))}]"


def _each_secret(value: bytes) -> Iterator[str]:
    at = 0
    while at < len(value):
        number, at = read_length(value, at)
        size, at = read_length(value, at)
        digest, pepper = value[at : at + size], chr(value[at + size])
        if pepper not in base62.DIGITS:
            raise ValueError(DAMAGED)
        created_at, at = read_length(value, at + size + 1)
        end, at = read_length(value, at)
        retires_at = end - 1 if end else "null"
        yield (
            f'{{"id": "{number}", "digest": "{digest.hex()}", "pepper": "{pepper}", '
            f'"created_at": {created_at}, "retires_at": {retires_at}}}'
        )


# The number of a field is its place. Later fields get none: earlier versions keep them by name.
_CODEC: Final = FieldCodec(
    Field("schema", "1", pack_number, read_number),
    Field("kid"),
    Field("status", "active"),
    Field("env", "live"),
    Field("name"),
    Field("client_id"),
    Field("project_id"),
    Field("tenant_id"),
    Field("scopes"),
    Field("secrets", "[]", _pack_secrets, _read_secrets),
    number_field("created_at"),
    number_field("not_before"),
    number_field("expires_at"),
    Field("allowed_cidrs"),
    Field("allowed_hosts"),
    Field("allowed_origins"),
    Field("metadata", "{}"),
    number_field("revoked_at"),
    Field("revocation_reason"),
    number_field("outage_grace"),
    Field("plan"),
    Field("limits"),
    Field(CHANGE_ID, is_optional=True),
    besides=frozenset({VERSION, SEAL}),
)
