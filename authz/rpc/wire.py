"""Protobuf fields by hand, to be appended to a serialised message."""


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited field. `number` below 16."""
    return bytes((number << 3 | 2,)) + varint(len(payload)) + payload


def varint(number: int) -> bytes:
    """A base 128 number, least significant group first."""
    out = bytearray()
    while number > 0x7F:  # noqa: PLR2004  seven bits a byte
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
