"""A key that is given on stdin: arguments are seen by every process of the machine."""

import sys
from getpass import getpass
from typing import Final

from authz.core.errors import BadInput

FIELD: Final = "stdin"
GOOD: Final = "give one key on one line, as in: authz ... < key.txt"
MAX_LINE: Final = 4096


def key_from_stdin(prompt: str) -> str:
    """The key, which is not shown. Asks for it on a terminal. Raises BadInput."""
    if sys.stdin is None:
        raise BadInput(FIELD, f"is closed; {GOOD}")
    if sys.stdin.isatty():
        text = getpass(f"{prompt} (not shown): ")
    else:
        try:
            text = sys.stdin.read(MAX_LINE + 1)
            text.encode()  # some locales read any byte, into what is no text
        except (UnicodeError, OSError):
            raise BadInput(FIELD, f"is not text; {GOOD}") from None
    text = text.strip(" \t\r\n")
    if not text:
        raise BadInput(FIELD, f"holds no key; {GOOD}")
    if len(text) > MAX_LINE or "\n" in text:
        raise BadInput(FIELD, f"holds more than a key; {GOOD}")
    return text
