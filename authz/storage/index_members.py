"""Members of the indexes of keys: a key stands there by its kid, or by a short form of it.

The short form has 12 bytes in place of 16 characters: two numbers of 6 bytes, big-endian, each of
eight digits of base 62. Both forms have the same order. A text of 12 bytes is never a kid, so a
member says itself which form it has.

Rules:
1. A record that is a hash has its kid in the indexes. So earlier versions, which read no compact
   record, find the members that they know.
2. A change of a compact record leaves the member as it is. A new key gets the form of the newest
   key, and the short form if it is the first one.
3. `authz compact` changes the form, by rename_members.lua. All keys of one millisecond change in
   one step, so a list that is read meanwhile keeps its order.
"""

from typing import Final

from authz.core.keys import base62
from authz.core.keys.text import KID_LENGTH
from authz.storage.field_codec import as_bytes, as_text

HALF: Final = KID_LENGTH // 2  # digits
HALF_BYTES: Final = 6
SHORT_BYTES: Final = 2 * HALF_BYTES
_DIGITS: Final = frozenset(base62.DIGITS)
_BASE: Final = 62**2
_PAIRS: Final = tuple(first + second for first in base62.DIGITS for second in base62.DIGITS)
_NUMBERS: Final = {pair: number for number, pair in enumerate(_PAIRS)}


def short_member(kid: str) -> str:
    """Return the short form of a kid, as text with surrogates; any other text as it is."""
    if len(kid) != KID_LENGTH or not _DIGITS.issuperset(kid):
        return kid
    return as_text(_packed(kid[:HALF]) + _packed(kid[HALF:]))


def kid_of(member: str) -> str:
    """Return the kid of a member in either form. Any other text is returned as it is."""
    if len(member) == KID_LENGTH:
        return member
    raw = as_bytes(member)
    if len(raw) != SHORT_BYTES:
        return member
    first, second = int.from_bytes(raw[:HALF_BYTES]), int.from_bytes(raw[HALF_BYTES:])
    if first >= _BASE**4 or second >= _BASE**4:
        return member
    return _digits(first) + _digits(second)


def _packed(digits: str) -> bytes:
    number = 0
    for at in range(0, HALF, 2):
        number = number * _BASE + _NUMBERS[digits[at : at + 2]]
    return number.to_bytes(HALF_BYTES)


def _digits(number: int) -> str:
    number, fourth = divmod(number, _BASE)
    number, third = divmod(number, _BASE)
    first, second = divmod(number, _BASE)
    return _PAIRS[first] + _PAIRS[second] + _PAIRS[third] + _PAIRS[fourth]
