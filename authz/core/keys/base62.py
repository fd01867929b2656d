"""Numbers in base62, as keys hold them."""

from typing import Final

DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# For bytes.translate: each digit by its value.
VALUES: Final = bytes.maketrans(DIGITS.encode(), bytes(range(len(DIGITS))))


def encode(number: int, width: int) -> str:
    """`number`, most significant digit first, left-padded with 0 to `width`.

    Raises ValueError when it does not fit.
    """
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(DIGITS[digit])
    if number:
        raise ValueError("the number does not fit the width")
    return "".join(reversed(digits))
