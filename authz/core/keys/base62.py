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
