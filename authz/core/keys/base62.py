"""Numbers in base62, as in key text."""

from typing import Final

DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# A table for bytes.translate: each digit becomes its value.
VALUES: Final = bytes.maketrans(DIGITS.encode(), bytes(range(len(DIGITS))))


def encode(number: int, width: int) -> str:
    """Return `number`, at least 0, in base62, padded on the left with 0 to `width` digits.

    Raises ValueError if it does not fit.
    """
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(DIGITS[digit])
    if number:
        raise ValueError("the number does not fit the width")
    return "".join(reversed(digits))


def decode(digits: str) -> int:
    """Return the number of these base62 digits. Raises ValueError for another character."""
    number = 0
    for digit in digits:
        number = number * 62 + DIGITS.index(digit)
    return number


def decode_11(digits: bytes) -> int:
    """Return the number of 11 base62 digits. Other characters give any number.

    The digits are unpacked by hand: a loop takes twice as long.
    """
    a, b, c, d, e, f, g, h, i, j, k = digits.translate(VALUES)
    high = (((a * 62 + b) * 62 + c) * 62 + d) * 62 + e
    return high * 62**6 + ((((f * 62 + g) * 62 + h) * 62 + i) * 62 + j) * 62 + k
