"""Text that a client controls, made fit for a log line: escaped, bounded, and without keys."""

import ipaddress
import re
from typing import Final

from authz.core.methods import NAMED_METHOD

MAX_PATH: Final = 256
MAX_ADDRESS: Final = 64  # longer than any address
ODD: Final = "invalid"

# As long as an imported key may be, and of its alphabet: a caller may have put a key into the path.
_LONGEST_KEY: Final = 256
_HEX_ID = re.compile(r"[0-9A-Fa-f-]{1,64}", re.ASCII)
_KEY_LIKE = re.compile(r"[A-Za-z0-9_.~+=%-]{16,}", re.ASCII)
_KEY_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.~+=%-"
_LONG_WORD: Final = 32
_SHOWN: Final = 4


def method(text: str) -> str:
    """Return a method such as POST, else `invalid`. At most 32 capital letters and `-`."""
    return text if NAMED_METHOD.fullmatch(text) else ODD


def address(text: str) -> str:
    """Return an IP address in its usual form, else `invalid`. An empty text stays empty.

    An address with a scope id is `invalid`.
    """
    if not text:
        return ""
    try:
        parsed = ipaddress.ip_address(text[: MAX_ADDRESS + 1])
    except ValueError:
        return ODD
    # A scope id, the part after `%`, may be any text.
    return ODD if getattr(parsed, "scope_id", None) else str(parsed)


def request_id(text: str) -> str:
    """Return an id with each part that may be a key cut to its first 4 characters and `...`.

    Such a part has 16 or more characters that a key may have, and a digit or 32 characters. Up to
    64 hexadecimal digits and `-` stay as they are, as in a UUID. The length is not bounded.
    """
    return text if _HEX_ID.fullmatch(text) else _KEY_LIKE.sub(_masked, text)


def path(text: str) -> str:
    """Return a path without its query, at most MAX_PATH (256) characters of printable ASCII.

    Blanks and other characters are escaped as in a Python literal. A part that may be a key is cut
    as in `request_id`.
    """
    bare = text.partition("?")[0]
    if len(bare) > MAX_PATH + _LONGEST_KEY:
        # The cut may go through a key, whose rest would be too short to be taken for one.
        bare = bare[: MAX_PATH + _LONGEST_KEY].rstrip(_KEY_ALPHABET)
    printable = ascii(bare)[1:-1].replace(" ", "\\x20")
    return _KEY_LIKE.sub(_masked, printable)[:MAX_PATH]


def _masked(found: re.Match[str]) -> str:
    word = found[0]
    is_word = len(word) < _LONG_WORD and not any(map(str.isdigit, word))
    return word if is_word else f"{word[:_SHOWN]}..."
