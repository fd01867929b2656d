"""W3C Trace Context: where a call stands in a trace (https://www.w3.org/TR/trace-context/)."""

import re
from typing import Final, NamedTuple

HEADER: Final = "traceparent"

NOT_SAMPLED: Final = "-00"
"""What most traceparents end with whose caller is not traced: worth a look before any parsing.

One of a later version that goes on may end so, too; its Check is not traced then.
"""
_SAMPLED_DIGITS: Final = frozenset("13579bdf")
# Ids of zeros are none, and ff is no version. What is later than 00 begins as it does and may go on
# after a dash ("Versioning of traceparent").
_TRACEPARENT: Final = re.compile(
    r"(?:00(?=.{53}\Z)|(?!00|ff)[0-9a-f]{2})"
    r"-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]([0-9a-f])(?:-.*)?",
    re.ASCII,
)


class Context(NamedTuple):
    """A span, the trace that it is part of, and whether it is traced. The ids are hexadecimal."""

    trace_id: str
    span_id: str
    sampled: bool = True


def parse(traceparent: str) -> Context | None:
    """The span that a traceparent names; None when it makes no sense, which means a new trace."""
    match = _TRACEPARENT.fullmatch(traceparent)
    return Context(match[1], match[2], match[3] in _SAMPLED_DIGITS) if match else None
