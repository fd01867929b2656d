"""The traceparent of a call, out of its header block, for a fraction of what decoding costs.

Only for telling traces apart: what stands there is the client's word and is parsed again by whoever
makes something of it. hpack decodes a value of 55 characters in six microseconds, so one whose last
characters are `-00` (its caller is not traced) is recognised by the bits that it ends with.
"""

from typing import Final

from hpack.exceptions import HPACKDecodingError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman

NAME: Final = b"traceparent"
NOT_SAMPLED: Final = b"-00"
"""Stands for a traceparent that was not decoded, as its caller is not traced."""

_HUFFMAN: Final = 0x80
_CODED_NAME: Final = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(NAME)
_FIELDS: Final = (bytes([_HUFFMAN | len(_CODED_NAME)]) + _CODED_NAME, bytes([len(NAME)]) + NAME)
_MOST: Final = 0x7E  # bytes; a longer one has another length prefix, and is none
_ZEROS: Final = 11  # bits before the padding: the last of a `-`, and two `0`


def find(block: bytes) -> bytes | None:
    """The value of the block's first traceparent, NOT_SAMPLED for one of those, None without one.

    `block` was decoded before, or one with the same names; only what is a literal is found.
    """
    for field in _FIELDS:
        at = block.find(field)
        if at >= 0:
            return _value(block, at + len(field))
    return None


def _value(block: bytes, at: int) -> bytes | None:
    head = block[at : at + 1]
    size = head[0] & ~_HUFFMAN if head else 0
    value = block[at + 1 : at + 1 + size]
    if not 0 < size <= _MOST or len(value) < size:
        return None
    if not head[0] & _HUFFMAN:
        return value
    if _ends_unsampled(value):
        return NOT_SAMPLED
    try:
        decoded: bytes = decode_huffman(value)
    except HPACKDecodingError:
        return None
    return decoded


def _ends_unsampled(coded: bytes) -> bool:
    """Is it `-00`? Those are 010110, 00000 and 00000, and up to seven ones fill the last byte."""
    tail = int.from_bytes(coded[-3:])
    after = tail + 1
    rest = tail // (after & -after)
    return (rest & -rest).bit_length() == _ZEROS + 1
