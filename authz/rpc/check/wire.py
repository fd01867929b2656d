"""Protobuf fields by hand, to be appended to a serialised message."""

from typing import Final

_METADATA: Final = 4  # of CheckResponse: dynamic_metadata, a google.protobuf.Struct
# Of CheckResponse, and of its ok_response: headers and headers_to_remove.
OK, OK_HEADERS, OK_REMOVED = 3, 2, 5
STRING, STRUCT = 3, 5  # of google.protobuf.Value
_SEVEN_BITS: Final = 0x7F  # of a varint stand in each byte


def field(number: int, payload: bytes) -> bytes:
    """Return an encoded length-delimited field. `number` is below 16, which is not checked."""
    size = len(payload)
    if size <= _SEVEN_BITS:  # nearly always, and a third of the time
        return bytes((number << 3 | 2, size)) + payload
    return bytes((number << 3 | 2,)) + varint(size) + payload


def varint(number: int) -> bytes:
    """Return `number`, which is at least 0, as a protobuf varint."""
    out = bytearray()
    while number > _SEVEN_BITS:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_varint(serialised: bytes, at: int) -> tuple[int, int]:
    """Return the varint that begins at `at`, and where it ends. It has at most 35 bits.

    Raises IndexError if it is cut off or longer than that.
    """
    number = 0
    for shift in range(0, 35, 7):
        byte = serialised[at]
        at += 1
        number |= (byte & _SEVEN_BITS) << shift
        if byte <= _SEVEN_BITS:
            return number, at
    raise IndexError("a length has more than 5 bytes")


# HeaderValueOption.append, an explicit false, and .append_action: OVERWRITE_IF_EXISTS_OR_ADD. Envoy
# 1.40 reads the one in some places and the other in others: say it both ways.
_REPLACES = b"\x12\x00\x18\x02"


def header(name: str, value: str) -> bytes:
    """Return a serialised HeaderValueOption that replaces every header of this name, or adds it."""
    return field(1, field(1, name.encode()) + field(2, value.encode())) + _REPLACES


def metadata(name: str, value: bytes) -> bytes:
    """Return bytes that add an entry to the dynamic_metadata of a serialised CheckResponse.

    value: a serialised google.protobuf.Value.
    """
    return field(_METADATA, field(1, field(1, name.encode()) + field(2, value)))
