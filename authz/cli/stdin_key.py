"""Read a key from stdin. Arguments would be visible to every process of the machine."""

import sys
from getpass import getpass
from typing import Final

from authz.core.errors import BadInput
from authz.core.keys.pasted import Pasted, find_key
from authz.settings.model import Keys

FIELD: Final = "stdin"
GOOD: Final = "give one key on one line, as in: authz ... < key.txt"
MAX_LINE: Final = 4096
ANY_PREFIX: Final = "[a-z][a-z0-9]{1,11}"  # of a key of ours, where the settings are elsewhere


def any_prefix(keys: Keys) -> str:
    """Return a regular expression for the prefix of keys and the older prefixes."""
    return f"(?:{'|'.join((keys.prefix, *keys.older_prefixes))})"


def key_from_stdin(prompt: str, prefix: str) -> Pasted:
    """Return the key on stdin, also out of pasted text, and the carrier that this text names.

    One line without a key of ours is returned, too. On a terminal, ask without echo. prefix: a
    pattern for the prefix of keys. Raises BadInput if stdin is closed, empty, not text, longer than
    MAX_LINE (4,096 characters), or contains more than a key.
    """
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
    pasted = find_key(text, prefix) if len(text) <= MAX_LINE else None
    if pasted is None:
        raise BadInput(FIELD, f"contains more than a key; {GOOD}")
    return pasted
