"""W3C Trace Context: where a call stands in a trace (https://www.w3.org/TR/trace-context/)."""

import re
from typing import Final, NamedTuple

HEADER: Final = "traceparent"

SAMPLED_DIGITS: Final = frozenset("13579bdf")
"""What a traceparent ends with whose caller is traced."""
# Ids of zeros are none. Of later versions than 00 nothing is known here yet.
_TRACEPARENT: Final = re.compile(
    r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}", re.ASCII
)


class Context(NamedTuple):
    """A span and the trace that it is part of. Both ids in hexadecimal, lower case."""

    trace_id: str
    span_id: str


def parse(traceparent: str) -> Context | None:
    """The span that a traceparent names; None when it makes no sense, which means a new trace."""
    match = _TRACEPARENT.fullmatch(traceparent)
    return Context(*match.groups()) if match else None
