"""Colors on terminals: of status words, of the marks of differences and findings, of errors.

A painted text holds marks that nobody else can write: each process draws its own. `rendered` makes
them escape sequences or takes them away, after everything else was escaped. So a text from the
store never brings a color of its own, and the width of a painted text is that of its words.
"""

import os
import re
from typing import TextIO

from authz.cli.terminal import escaped_lines

WHEN = ("auto", "always", "never")
GREEN, YELLOW, RED = "32", "33", "31"

_TOKEN = os.urandom(8).hex()
_MARK = re.compile(f"\0{_TOKEN}:([0-9]{{1,2}})\0")
_STATUS = (
    (RED, re.compile("revoked|expired|unreadable")),
    (YELLOW, re.compile("disabled|not yet valid|canary")),
    (GREEN, re.compile("active")),
)
_DIFFERENCE = {"+": GREEN, "~": YELLOW, "-": RED}

_when = WHEN[0]


def choose(when: str) -> None:
    """Set when colors are used by this process: one of WHEN."""
    global _when  # noqa: PLW0603  a choice of the whole process, as stdout is
    _when = when


def painted(text: str, color: str) -> str:
    """Return `text` with the marks of GREEN, YELLOW or RED. Empty text stays empty."""
    return f"\0{_TOKEN}:{color}\0{text}\0{_TOKEN}:0\0" if text else text


def status(text: str) -> str:
    """Return the status of a key painted: green works, yellow can work again, red is dead.

    Text without the word of a status stays plain.
    """
    found = next((color for color, words in _STATUS if words.search(text)), None)
    return painted(text, found) if found else text


def difference(line: str) -> str:
    """Return a line of differences painted by its first character: + green, ~ yellow, - red.

    Other lines stay plain.
    """
    found = _DIFFERENCE.get(line[:1])
    return painted(line, found) if found else line


def rendered(text: str, stream: TextIO | None) -> str:
    """Return `text` for a stream: escaped except newlines and tabs, with colors if they are wanted.

    `choose` says whether they are. auto: only on a terminal, and not with NO_COLOR or TERM=dumb.
    """
    parts = _MARK.split(text)
    is_colored = len(parts) > 1 and _is_wanted(stream)
    for at, part in enumerate(parts):
        if at % 2 == 0:
            parts[at] = escaped_lines(part)
        else:
            parts[at] = f"\x1b[{part}m" if is_colored else ""
    return "".join(parts)


def _is_wanted(stream: TextIO | None) -> bool:
    if _when != "auto":
        return _when == "always"
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream is not None and stream.isatty()
