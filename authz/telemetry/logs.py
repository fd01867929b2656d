"""Logs: readable text on a terminal, one JSON object a line elsewhere. Bounded, and without keys.

Rules:
1. No call of a logger is given a key. Should a library quote one in what it logs, it is taken out
   before the line is written.
2. Each place in the code that logs has so many lines a second; what is left out is counted, and
   the next line of that place says how many. So whoever can cause lines cannot flood the log.
   Refusals have a bound of their own, by a setting. Two sources have one line a minute: the SDK of
   OpenTelemetry, which logs each failed attempt to reach its receiver, and unreadable notices.
"""

import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Final

from authz.core.keys.text import without_secrets
from authz.core.token_bucket import TokenBucket

# What a line may say besides its message, in this order; an empty one is left out.
FIELDS: Final = ("reason", "kid", "client_id", "trace_id", "span_id", "left_out")
LINES_PER_SECOND: Final = 10.0
BOUNDED_ELSEWHERE: Final = "authz.denied"
TALKATIVE: Final = ("opentelemetry.", "authz.store.ignored")  # prefixes of logger names
TALKATIVE_LINES_PER_SECOND: Final = 1 / 60


class LogThrottle(logging.Filter):
    """Lets so many lines a second pass from each place in the code."""

    def __init__(self, rate: float = LINES_PER_SECOND) -> None:
        super().__init__()
        self._rate = rate
        self._places: dict[tuple[str, int], _CallSite] = {}
        self.left_out = 0  # in all; only grows

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging.Filter."""
        if record.name == BOUNDED_ELSEWHERE:
            return True
        where = (record.pathname, record.lineno)
        place = self._places.get(where)
        if place is None:
            is_talkative = record.name.startswith(TALKATIVE)
            rate = TALKATIVE_LINES_PER_SECOND if is_talkative else self._rate
            place = self._places[where] = _CallSite(rate)
        if not place.bucket.take(time.monotonic()):
            place.left_out += 1
            self.left_out += 1
            return False
        if place.left_out:
            record.left_out = place.left_out
            place.left_out = 0
        return True


class _CallSite:
    """A place in the code that logs."""

    def __init__(self, rate: float) -> None:
        self.bucket = TokenBucket(rate)
        self.left_out = 0


log_throttle: Final = LogThrottle()


def _said(record: logging.LogRecord) -> dict[str, str | int]:
    found = {name: getattr(record, name, "") for name in FIELDS}
    return {name: value for name, value in found.items() if value}


class JsonLines(logging.Formatter):
    """One JSON object a line, for machines."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "time": at,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_said(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return without_secrets(json.dumps(line))


class Text(logging.Formatter):
    """A line for people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s%(said)s")
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        record.said = "".join(f" {name}={value}" for name, value in _said(record).items())
        return without_secrets(super().format(record))


def log_to_stderr(level: str = "INFO") -> None:
    """Logs go to stderr: readable text on a terminal, JSON lines elsewhere."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Text() if sys.stderr.isatty() else JsonLines())
    handler.addFilter(log_throttle)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
