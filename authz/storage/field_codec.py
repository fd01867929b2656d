"""FieldCodec: fields of text as short bytes, so that each mapping has exactly one form.

A body is a sequence of fields, each as its number (1 byte), the length of its value, and the value.
They stand by number. A field with its default value is left out. A field without a number, such as
one of a newer version, has the number UNNUMBERED, and its value is the length of its name, the
name, and its text; these stand last, by name.

Lengths have 7 bits a byte, the lowest first; all bytes but the last are at least 128.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

UNNUMBERED: Final = 255
DAMAGED: Final = "it is damaged"

_MORE: Final = 128  # the bit of a byte of a length that others follow
_LOW: Final = _MORE - 1
_MAX_SHIFT: Final = 63


def as_text(raw: bytes) -> str:
    """Return bytes as redis-py and our links give and take them: text, with surrogates."""
    return raw.decode(errors="surrogateescape")


def as_bytes(text: str) -> bytes:
    """Return the bytes of a text of the store, which may have surrogates.

    Raises ValueError if it has others than those that stand for a byte.
    """
    return text.encode(errors="surrogateescape")


def length(number: int) -> bytes:
    """Return a whole number as a length. Raises ValueError below 0."""
    parts = bytearray()
    while number > _LOW:
        parts.append(number & _LOW | _MORE)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def read_length(text: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at a place, and the place behind it.

    Raises IndexError at the end of the text, ValueError if it has more than 9 bytes or a shorter
    form.
    """
    byte = text[at]
    if byte < _MORE:
        return byte, at + 1
    number, shift = byte & _LOW, 7
    while byte > _LOW and shift < _MAX_SHIFT:
        at += 1
        byte = text[at]
        number |= (byte & _LOW) << shift
        shift += 7
    if not byte or byte > _LOW:
        raise ValueError(DAMAGED)
    return number, at + 1


def pack_number(text: str) -> bytes:
    """Return the bytes of a number in decimal digits. Raises ValueError for any other text."""
    if not (text.isascii() and text.isdecimal()) or (text[0] == "0" and len(text) > 1):
        raise ValueError("not a whole number")
    number = int(text)
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8))


def read_number(value: bytes) -> str:
    """Return the decimal digits of a number. Raises ValueError if it has a shorter form."""
    if not value or (not value[0] and len(value) > 1):
        raise ValueError(DAMAGED)
    return str(int.from_bytes(value))


@dataclass(frozen=True, slots=True)
class Field:
    """A field with a number. pack and read: its text as bytes, and back; both raise ValueError.

    default: the text that is left out. is_optional: a mapping without the field has none; without
    it, the field is always there.
    """

    name: str
    default: str = ""
    pack: Callable[[str], bytes] = as_bytes
    read: Callable[[bytes], str] = as_text
    is_optional: bool = False


def number_field(name: str, *, is_optional: bool = False) -> Field:
    """Return a field whose text is empty or a number in decimal digits."""
    return Field(name, "", pack_number, read_number, is_optional)


class FieldCodec:
    """Packs mappings of these fields. The number of a field is its place, from 1 on.

    besides: names of fields that are kept elsewhere, and are left out here.
    """

    def __init__(self, *fields: Field, besides: frozenset[str] = frozenset()) -> None:
        self._fields = fields
        self._named = besides | {one.name for one in fields}
        self._defaults = {one.name: one.default for one in fields if not one.is_optional}

    def pack(self, fields: Mapping[str, str]) -> bytes:
        """Return the body. Raises ValueError if a field is missing or has no short form."""
        parts: list[bytes] = []
        for number, field in enumerate(self._fields, 1):
            text = fields.get(field.name)
            if text is None and not field.is_optional:
                raise ValueError(f"the field {field.name} is missing")
            if text is not None and (field.is_optional or text != field.default):
                value = field.pack(text)
                parts += (bytes((number,)), length(len(value)), value)
        for name in sorted(fields.keys() - self._named):
            if not name:
                raise ValueError("a field has no name")
            raw = as_bytes(name)
            value = length(len(raw)) + raw + as_bytes(fields[name])
            parts += (bytes((UNNUMBERED,)), length(len(value)), value)
        return b"".join(parts)

    def read(self, text: bytes, start: int = 0) -> dict[str, str]:
        """Return the fields of a body that begins at `start`, those with defaults included.

        Raises ValueError or IndexError if it is damaged.
        """
        found = dict(self._defaults)
        last_name = ""
        for number, value in _values(text, start):
            if number == UNNUMBERED:
                size, begin = read_length(value, 0)
                name, content = as_text(value[begin : begin + size]), value[begin + size :]
                if begin + size > len(value) or name <= last_name or name in self._named:
                    raise ValueError(DAMAGED)
                found[name], last_name = as_text(content), name
                continue
            field = self._fields[number - 1]
            found[field.name] = content_text = field.read(value)
            if content_text == field.default and not field.is_optional:
                raise ValueError(DAMAGED)
        return found


def _values(text: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """Yield number and value of each field. Raises ValueError if the numbers do not rise."""
    last = 0
    while at < len(text):
        number = text[at]
        size, start = read_length(text, at + 1)
        at = start + size
        if at > len(text) or number < last or (number == last and number != UNNUMBERED):
            raise ValueError(DAMAGED)
        if not number:
            raise ValueError(DAMAGED)
        last = number
        yield number, text[start:at]
