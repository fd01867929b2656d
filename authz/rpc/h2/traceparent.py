"""Reads a call's traceparent from its header block, for a fraction of the cost of decoding.

The value is the client's word: it only tells traces apart, and its reader parses it again. hpack
decodes a value of 55 characters in six microseconds. So a value that ends with `-00` (its caller is
not traced) is recognised by the bits at its end.
"""

from typing import Final

from hpack.exceptions import HPACKDecodingError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman

NAME: Final = b"traceparent"
NOT_SAMPLED: Final = b"-00"
"""Stands for a traceparent that was not decoded because its caller is not traced."""

_HUFFMAN: Final = 0x80
_CODED_NAME: Final = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(NAME)
_FIELDS: Final = (bytes([_HUFFMAN | len(_CODED_NAME)]) + _CODED_NAME, bytes([len(NAME)]) + NAME)
_MAX_BYTES: Final = 0x7E  # a longer string has another length prefix, and is no traceparent
_ZEROS: Final = 11  # bits before the padding: the last of a `-`, and two `0`


def find(block: bytes) -> bytes | None:
    """Return the value of a traceparent literal in a header block, or None.

    It is the first whose name is Huffman-coded, else the first with a plain name. NOT_SAMPLED
    stands for a Huffman-coded value that ends with `-00`. None if there is no literal, or its value
    is empty, over 126 bytes or garbled. hpack must have decoded `block` or one with the same names.
    """
    for field in _FIELDS:
        at = block.find(field)
        if at >= 0:
            return _value(block, at + len(field))
    return None


def _value(block: bytes, at: int) -> bytes | None:
    prefix = block[at : at + 1]
    size = prefix[0] & ~_HUFFMAN if prefix else 0
    value = block[at + 1 : at + 1 + size]
    if not 0 < size <= _MAX_BYTES or len(value) < size:
        return None
    if not prefix[0] & _HUFFMAN:
        return value
    if _ends_unsampled(value):
        return NOT_SAMPLED
    try:
        decoded: bytes = decode_huffman(value)
    except HPACKDecodingError:
        return None
    return decoded


def _ends_unsampled(coded: bytes) -> bool:
    """Return whether a Huffman-coded value ends with `-00`.

    These are 010110, 00000 and 00000. Up to seven ones fill the last byte.
    """
    tail = int.from_bytes(coded[-3:])
    after = tail + 1
    rest = tail // (after & -after)
    return (rest & -rest).bit_length() == _ZEROS + 1
