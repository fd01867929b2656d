"""Text from the store, made safe for a terminal.

Whoever can write to the store, or once named a key, could otherwise send control sequences to the
terminal of an operator, forge lines, or reverse the order of the text.
"""

from typing import Final

LAYOUT: Final = {"\n", "\t"}


def escaped(text: str) -> str:
    """Return `text` on one line: unprintable characters become escapes such as `\\x1b`."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def escaped_lines(text: str) -> str:
    """Return `text` with its newlines and tabs, and all other control characters escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in LAYOUT else _escape(c) for c in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
