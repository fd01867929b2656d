"""W3C Trace Context: the position of a call in a trace (https://www.w3.org/TR/trace-context/)."""

import re
from typing import Final, NamedTuple

HEADER: Final = "traceparent"

NOT_SAMPLED: Final = "-00"
"""The end of a traceparent that is not sampled. Checked first, because parsing costs more.

A longer traceparent of a later version may end like this too. Its Check is then not traced.
"""
_SAMPLED_DIGITS: Final = frozenset("13579bdf")
# All-zero ids are invalid (3.2.2). Version ff is invalid. Later versions begin like 00 and may have
# more fields after a dash ("Versioning of traceparent").
_TRACEPARENT: Final = re.compile(
    r"(?:00(?=.{53}\Z)|(?!00|ff)[0-9a-f]{2})"
    r"-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]([0-9a-f])(?:-.*)?",
    re.ASCII,
)


class Context(NamedTuple):
    """A span, its trace, and whether it is sampled.

    Ids are hexadecimal: 32 digits of the trace, 16 of the span.
    """

    trace_id: str
    span_id: str
    sampled: bool = True


def parse(traceparent: str) -> Context | None:
    """Return the span that a traceparent names, or None if it is invalid or empty.

    The version is not kept, and of the flags only `sampled`.
    """
    match = _TRACEPARENT.fullmatch(traceparent)
    return Context(match[1], match[2], match[3] in _SAMPLED_DIGITS) if match else None
