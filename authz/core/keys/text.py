"""The layout of key text, and functions that need no pepper."""

import binascii
import re
import secrets
import zlib
from base64 import b64encode
from collections.abc import Sequence
from typing import Final

from authz.core.errors import BadInput
from authz.core.keys import base62

ENVIRONMENTS: Final = ("live", "test")
KID_LENGTH: Final = 16
SECRET_LENGTH: Final = 43  # 62**43 > 2**256
TAG_LENGTH: Final = 11  # 62**11 > 2**64
CHECKSUM_LENGTH: Final = 6  # 62**6 > 2**32
PROOFS_LENGTH: Final = TAG_LENGTH + CHECKSUM_LENGTH
TAG_BYTES: Final = 8
MAX_TAG: Final = (1 << 8 * TAG_BYTES) - 1

PUBLIC_PREFIX: Final = "pk"  # of publishable keys, unless the settings name another
PREFIX_PATTERN: Final = re.compile(r"[a-z][a-z0-9]{1,11}", re.ASCII)
KID_PATTERN: Final = re.compile(rf"[0-9A-Za-z]{{{KID_LENGTH}}}", re.ASCII)
IMPORTED_PATTERN: Final = re.compile(r"[A-Za-z0-9_.~+/=-]{8,256}", re.ASCII)
MIN_IMPORTED: Final = 16  # characters of an imported key without a declared prefix
IMPORTED_PREFIX_PATTERN: Final = re.compile(r"[A-Za-z0-9_.~+/=-]{2,32}", re.ASCII)
# Every digit stands for four bytes, and the bytes that are left over for none, so that all digits
# have the same chance.
_DIGIT_OF_BYTE: Final = bytes(ord(base62.DIGITS[byte % 62]) for byte in range(256))
_NO_DIGIT: Final = bytes(range(256 - 256 % 62, 256))
_AS_QUOTED_PRINTABLE: Final = bytes.maketrans(b"%=\r\n", b"=\0  ")
_URL_SAFE: Final = str.maketrans("+/", "-_")
# A key of any prefix, complete or cut off: group 1 ends with the kid, the rest is secret.
_KEY_IN_TEXT: Final = re.compile(
    rf"({PREFIX_PATTERN.pattern}_(?:{'|'.join(ENVIRONMENTS)})_[0-9A-Za-z]{{{KID_LENGTH}}}_)"
    r"[0-9A-Za-z]+",
    re.ASCII,
)


def new_kid() -> str:
    """Return a random kid: 95 bits from the CSPRNG."""
    digits = b""
    while len(digits) < KID_LENGTH:
        digits += secrets.token_bytes(2 * KID_LENGTH).translate(_DIGIT_OF_BYTE, _NO_DIGIT)
    return digits[:KID_LENGTH].decode()


def checksum(text: str) -> str:
    """Return the CRC32 of `text` as 6 base62 digits.

    It shows typing errors and proves nothing else.
    """
    return base62.encode(zlib.crc32(text.encode()), CHECKSUM_LENGTH)


def escapable(text: str) -> str:
    """Return a regex pattern for `text`, each character as itself or as its percent escape.

    The hex digits of an escape have either case.
    """
    return "".join(f"(?:{re.escape(character)}|{_escape_pattern(character)})" for character in text)


def any_spelling(name: str) -> str:
    """Return a regex pattern for each name of a parameter that some backend reads as `name`.

    Letters of either case, `.`, `+` or a blank for `_`, blanks in front, an array such as `name[]`,
    and an escape in place of each of these characters.
    """
    mark = r"(?:[_.+ \[]|%5[Ff]|%2[EeBb0]|%20|%5[Bb])"
    letters = (
        mark
        if character in "_.+ ["
        else f"(?:{escapable(character.lower())}|{escapable(character.upper())})"
        for character in name
    )
    # A blank in front may be the mark that the name begins with. If it cannot, the loop gives none
    # back: it keeps no memory of 60,000 blanks.
    is_mark = name.startswith(("_", "."))
    blanks = r"(?:[+ ]|%2[0Bb])*" if is_mark else r"(?:[+ ]++|%2[0Bb])*+"
    return rf"{blanks}{''.join(letters)}(?:(?:\[|%5[Bb])[^&;=]*)?"


def percent_decoded(text: str) -> str:
    """Return `text` with its percent escapes decoded once, to be searched for a key.

    The bytes are read as Latin-1. `=` becomes NUL, line ends become blanks, and a percent sign
    without two hex digits becomes `=`, is dropped at the end, and is followed by NUL in front of
    another one. The decoder is that of quoted-printable, which is written in C: urllib takes forty
    times as long.
    """
    raw = text.encode("utf-8", "surrogatepass")
    for _ in range(2):  # so that none of several signs is taken for the escape of the other
        raw = raw.replace(b"%%", b"%\0%")
    return binascii.a2b_qp(raw.translate(_AS_QUOTED_PRINTABLE)).decode("latin-1")


def in_base64(text: str) -> set[str]:
    """Return the forms of `text` inside a text in base64, in either alphabet, wherever it stands.

    At most six. The first and last characters are left out: they also hold bits of the text beside
    it.
    """
    raw = text.encode()
    found = set()
    for before in range(3):
        encoded = b64encode(bytes(before) + raw).decode()
        form = encoded[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
        found |= {form, form.translate(_URL_SAFE)}
    return found


def _escape_pattern(character: str) -> str:
    digits = "".join(f"%{byte:02X}" for byte in character.encode())
    return "".join(f"[{one}{one.lower()}]" if one.isalpha() else one for one in digits)


def without_secrets(text: str) -> str:
    """Return `text` with `...` in place of the secret part of every key in our format.

    Keys of any prefix, also cut off ones. Prefix, environment and kid stay.
    """
    return _KEY_IN_TEXT.sub(r"\1...", text)


def check_declared(prefix: str, starts: Sequence[str]) -> None:
    """Raise BadInput unless `prefix` may begin imported keys. starts: of our secret keys."""
    if IMPORTED_PREFIX_PATTERN.fullmatch(prefix) is None:
        raise BadInput(
            "keys.imported_prefixes", "2 to 32 of A-Z a-z 0-9 _ . ~ + / = -, such as sk-"
        )
    if any(prefix.startswith(start) or start.startswith(prefix) for start in starts):
        raise BadInput("keys.imported_prefixes", f"{prefix} is the beginning of keys made here")
