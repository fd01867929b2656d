"""The compact form of an entry of the audit trail: two fields of the stream in place of ten.

    kid     as in the other form
    entry   the mark of the change id (16 bytes, see compact.py), then the other fields: see
            field_codec.py

An entry is the same mapping in both forms, so its mark and its hash are the same, too.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Final

from authz.core.keys import base62
from authz.core.trail.rows import MARK, MARK_BYTES
from authz.storage import compact
from authz.storage.field_codec import (
    DAMAGED,
    Field,
    FieldCodec,
    as_bytes,
    as_text,
    length,
    number_field,
    pack_number,
    read_length,
    read_number,
)

ENTRY: Final = "entry"
KID: Final = "kid"
_FORM: Final = frozenset({KID, ENTRY})
_JSON, _MEMBERS = 0, 1  # the forms of a detail
_TEXT, _NUMBER, _NULL = 0, 1, 2  # the kinds of its values
_KIND_BITS, _KINDS = 2, 3
_NAMES: Final = ("client_id", "expires_at")  # members with a number


def pack(fields: Mapping[str, str]) -> bytes:
    """Return the text of `entry`. fields: of the entry, without the kid.

    Raises ValueError if the fields are not as `encoding.encode_event` and the marks write them.
    """
    change_id = fields.get(compact.CHANGE_ID, "")
    if not change_id:
        raise ValueError("the change id is missing")
    kept = fields
    if compact.raw_id(change_id):
        kept = {name: text for name, text in fields.items() if name != compact.CHANGE_ID}
    return compact.change_mark(change_id) + _CODEC.pack(kept)


def unpacked(found: Mapping[str, str]) -> Mapping[str, str]:
    """Return the fields of a row of the audit trail, in either form.

    A damaged entry is returned as it is: then `encoding.decode_event` finds no field in it.
    """
    if found.keys() != _FORM:
        return found
    try:
        return {KID: found[KID], **_read(as_bytes(found[ENTRY]))}
    except (ValueError, IndexError):
        return found


def _read(text: bytes) -> dict[str, str]:
    fields = _CODEC.read(text, compact.MARK_BYTES)
    marked = text[: compact.MARK_BYTES]
    if compact.raw_id(fields.get(compact.CHANGE_ID, "")):
        raise ValueError(DAMAGED)
    change_id = fields.setdefault(compact.CHANGE_ID, marked.hex())
    if len(marked) != compact.MARK_BYTES or compact.change_mark(change_id) != marked:
        raise ValueError(DAMAGED)
    return fields


def _pack_detail(text: str) -> bytes:
    """Return the detail as short members if all are texts, whole numbers or null, else as JSON."""
    try:
        members = json.loads(text)
        value = bytes((_MEMBERS,)) + b"".join(_member(*pair) for pair in members.items())
        if _read_detail(value) == text:
            return value
    except (ValueError, TypeError, AttributeError, RecursionError):
        pass
    return bytes((_JSON,)) + as_bytes(text)


def _member(name: str, value: object) -> bytes:
    number = _NAMES.index(name) + 1 if name in _NAMES else 0
    head = bytes((number,)) if number else bytes((0,)) + length(len(name.encode())) + name.encode()
    if value is None:
        return head + length(_NULL)
    if isinstance(value, str):
        kind, raw = _TEXT, value.encode()
    else:
        kind, raw = _NUMBER, pack_number(str(value))
    return head + length(len(raw) << _KIND_BITS | kind) + raw


def _read_detail(value: bytes) -> str:
    if value[0] == _JSON:
        return as_text(value[1:])
    if value[0] != _MEMBERS:
        raise ValueError(DAMAGED)
    members: dict[str, str | int | None] = {}
    at = 1
    while at < len(value):
        number, at = value[at], at + 1
        if number:
            name = _NAMES[number - 1]
        else:
            size, at = read_length(value, at)
            name, at = value[at : at + size].decode(), at + size
        head, at = read_length(value, at)
        size, kind = head >> _KIND_BITS, head & _KINDS
        raw, at = value[at : at + size], at + size
        if at > len(value):
            raise ValueError(DAMAGED)
        members[name] = _value(kind, raw)
    return json.dumps(members)


def _value(kind: int, raw: bytes) -> str | int | None:
    if kind == _TEXT:
        return raw.decode()
    if kind == _NUMBER:
        return int(read_number(raw))
    if raw or kind != _NULL:
        raise ValueError(DAMAGED)
    return None


def _pack_mark(text: str) -> bytes:
    pepper, _, given = text.partition(":")
    raw = urlsafe_b64decode(f"{given}==")
    value = as_bytes(pepper) + raw
    if len(raw) != MARK_BYTES or _read_mark(value) != text:
        raise ValueError(f"{MARK}: {DAMAGED}")
    return value


def _read_mark(value: bytes) -> str:
    pepper = chr(value[0])
    if len(value) != 1 + MARK_BYTES or pepper not in base62.DIGITS:
        raise ValueError(DAMAGED)
    return f"{pepper}:{urlsafe_b64encode(value[1:]).rstrip(b'=').decode()}"


# The number of a field is its place, as in compact.py.
_CODEC: Final = FieldCodec(
    Field("action", "issue"),
    Field("actor"),
    Field("note"),
    number_field("at"),
    Field("detail", "{}", _pack_detail, _read_detail),
    Field("base", "0", pack_number, read_number),
    Field("source", is_optional=True),
    Field("request_id", is_optional=True),
    Field(MARK, "", _pack_mark, _read_mark, is_optional=True),
    Field(compact.CHANGE_ID, is_optional=True),
    besides=frozenset({KID}),
)
