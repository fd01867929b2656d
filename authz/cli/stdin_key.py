"""Read a key from stdin. Arguments would be visible to every process of the machine."""

import sys
from getpass import getpass
from typing import Final

from authz.core.errors import BadInput

FIELD: Final = "stdin"
GOOD: Final = "give one key on one line, as in: authz ... < key.txt"
MAX_LINE: Final = 4096


def key_from_stdin(prompt: str) -> str:
    """Return the key. On a terminal, ask for it without echo. Raises BadInput."""
    if sys.stdin is None:
        raise BadInput(FIELD, f"is closed; {GOOD}")
    if sys.stdin.isatty():
        text = getpass(f"{prompt} (not shown): ")
    else:
        try:
            text = sys.stdin.read(MAX_LINE + 1)
            text.encode()  # some locales decode any byte, into invalid text
        except (UnicodeError, OSError):
            raise BadInput(FIELD, f"is not text; {GOOD}") from None
    text = text.strip(" \t\r\n")
    if not text:
        raise BadInput(FIELD, f"contains no key; {GOOD}")
    if len(text) > MAX_LINE or "\n" in text:
        raise BadInput(FIELD, f"contains more than a key; {GOOD}")
    return text
