"""Decoding of MessagePack, as far as the store's scripts write it: arrays of integers and text.

Specification: https://github.com/msgpack/msgpack/blob/master/spec.md
"""

from struct import Struct
from typing import Final

from authz.core.errors import Unreadable
from authz.core.usage.counts import FIELDS, LARGEST, Counts

_INTEGERS: Final = {
    kind: Struct(f">{letter}") for kind, letter in zip(range(0xCC, 0xD4), "BHIQbhiq", strict=True)
}
_LENGTHS: Final = {0xD9: Struct(">B"), 0xDA: Struct(">H"), 0xDB: Struct(">I")}
_ARRAY_16: Final = 0xDC
_DIGITS: Final = 20  # of the largest number of a store, and its sign
_ARRAY: Final = Struct(">H")


def packed(text: str) -> bytes:
    """Return the original bytes of a reply that was decoded as UTF-8 with surrogate escapes."""
    return text.encode("utf-8", "surrogateescape")


def counts(name: str, text: str) -> Counts:
    """Return the counts of a row; counts that a short row lacks are 0.

    name: for the error. Raises Unreadable if `text` is not a row of counts.
    """
    numbers = array(name, text)
    is_row = all(isinstance(number, int) and abs(number) <= LARGEST for number in numbers)
    if not is_row or len(numbers) > FIELDS:
        raise Unreadable(f"{name}: not a row of counts")
    return Counts((*numbers, *[0] * (FIELDS - len(numbers))))  # type: ignore[arg-type]


def number(name: str, text: str) -> int:
    """Return a number stored as digits. Raises Unreadable if `text` is no such number.

    name: for the error.
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS):
        raise Unreadable(f"{name}: not a number")
    return int(text)


def array(name: str, text: str) -> list[int | str]:
    """Return the items of a MessagePack array. name: for the error.

    Raises Unreadable if `text` is anything but one array of integers and text.
    """
    data = packed(text)
    try:
        length, at = _array_length(data)
        items = []
        for _ in range(length):
            item, at = _item(data, at)
            items.append(item)
    except (ValueError, IndexError):
        raise Unreadable(f"{name}: not an array of integers and text") from None
    if at != len(data):
        raise Unreadable(f"{name}: longer than it says")
    return items


def _array_length(data: bytes) -> tuple[int, int]:
    if data[0] == _ARRAY_16:
        return _unpacked(_ARRAY, data, 1)
    if data[0] >> 4 == 0x9:  # noqa: PLR2004  fixarray
        return data[0] & 0x0F, 1
    raise ValueError("not an array")


def _item(data: bytes, at: int) -> tuple[int | str, int]:
    kind = data[at]
    if kind < 0x80:  # noqa: PLR2004  positive fixint
        return kind, at + 1
    if kind >= 0xE0:  # noqa: PLR2004  negative fixint
        return kind - 0x100, at + 1
    if kind in _INTEGERS:
        return _unpacked(_INTEGERS[kind], data, at + 1)
    if kind >> 5 == 0b101:  # noqa: PLR2004  fixstr
        length, at = kind & 0x1F, at + 1
    elif kind in _LENGTHS:
        length, at = _unpacked(_LENGTHS[kind], data, at + 1)
    else:
        raise ValueError("of another type")
    end = at + length
    if end > len(data):
        raise ValueError("it ends early")
    return data[at:end].decode("ascii"), end


def _unpacked(layout: Struct, data: bytes, at: int) -> tuple[int, int]:
    end = at + layout.size
    if end > len(data):
        raise ValueError("it ends early")
    return layout.unpack_from(data, at)[0], end
