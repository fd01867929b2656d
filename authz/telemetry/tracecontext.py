"""W3C Trace Context: where a call stands in a trace (https://www.w3.org/TR/trace-context/)."""

import re
from typing import Final, NamedTuple

HEADER: Final = "traceparent"
LENGTH: Final = 55
SAMPLED_DIGITS: Final = b"13579bdf"

_TRACEPARENT: Final = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})"
)
# The same header in the bytes of a CheckRequest: as an entry of the map, or as a raw header.
_KEY: Final = b"\x0a\x0b" + HEADER.encode()
_VALUES: Final = (b"\x12" + bytes([LENGTH]), b"\x1a" + bytes([LENGTH]))


class Parent(NamedTuple):
    """Who called: the trace, and the span in it. Hexadecimal, lower case."""

    trace_id: str
    span_id: str
    sampled: bool


def parse(traceparent: bytes) -> Parent | None:
    """What a traceparent says; None when it makes no sense, which means a new trace."""
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None:
        return None
    trace_id, span_id, flags = (part.decode() for part in match.groups())
    return Parent(trace_id, span_id, bool(int(flags, 16) & 1))


def find(raw: bytes) -> bytes | None:
    """The traceparent among the headers in a serialised CheckRequest, or None.

    Looks at the bytes alone: parsing them takes ten times as long. No header and no path can hold
    the two bytes that it begins with, so only a body, if the proxy sends it along, could show
    another: who writes the body writes the header, too.
    """
    at = raw.find(_KEY)
    if at < 0:
        return None
    start = at + len(_KEY) + 2
    if raw[start - 2 : start] not in _VALUES:
        return None
    return raw[start : start + LENGTH]
