"""Logs: text on a terminal, one JSON object a line elsewhere. Bounded in rate, and without keys.

Rules:
1. No log call passes a key. If a library quotes one, it is removed before the line is written.
2. Each place in the code may write LINES_PER_SECOND. Further lines are counted, and the next line
   of that place tells how many were left out. So no client can flood the log. Refusals have their
   own bound, `telemetry.denials_per_second`. Two sources may write one line a minute: the SDK of
   OpenTelemetry, which logs each failed export, and unreadable notices.
"""

import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Final

from authz.core.keys.text import without_secrets
from authz.core.token_bucket import TokenBucket

# Fields of a line besides its message, in this order; empty ones are left out.
FIELDS: Final = (
    *("reason", "report_only", "request_id", "charge_id", "kid", "client_id"),
    *("method", "path", "address", "trace_id", "span_id", "left_out"),
)
PROCESS: Final = "process"  # a field before these, with the value of this label of the metrics
LINES_PER_SECOND: Final = 10.0
OWN_BOUND: Final = ("authz.denied", "authz.admin.calls")
RARE: Final = ("opentelemetry.", "authz.store.ignored")  # prefixes of logger names
RARE_LINES_PER_SECOND: Final = 1 / 60


class LogThrottle(logging.Filter):
    """Let `rate` lines a second pass from each place in the code, and count the others.

    Loggers of RARE get one line a minute for each place. left_out: lines dropped since the start.
    """

    def __init__(self, rate: float = LINES_PER_SECOND) -> None:
        super().__init__()
        self._rate = rate
        self._places: dict[tuple[str, int], _CallSite] = {}
        self.left_out = 0  # since the start

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write the line. If not, count it.

        The next line of its place that is written gets `left_out`, the number dropped before it.
        Lines of OWN_BOUND always pass.
        """
        if record.name in OWN_BOUND:
            return True
        where = (record.pathname, record.lineno)
        place = self._places.get(where)
        if place is None:
            is_rare = record.name.startswith(RARE)
            rate = RARE_LINES_PER_SECOND if is_rare else self._rate
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
    """The budget of one log call in the code. left_out: lines dropped since the last written."""

    def __init__(self, rate: float) -> None:
        self.bucket = TokenBucket(rate)
        self.left_out = 0


log_throttle: Final = LogThrottle()


def _fields(record: logging.LogRecord, process: str) -> dict[str, str | int]:
    found = {PROCESS: process} | {name: getattr(record, name, "") for name in FIELDS}
    return {name: value for name, value in found.items() if value}


class JsonLines(logging.Formatter):
    """Formats a record as one line with a JSON object. process: see `log_to_stderr`."""

    def __init__(self, process: str = "") -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one JSON object, with the time in UTC. Secrets of keys are masked.

        `exception` is present only if the record has one. Empty FIELDS are left out.
        """
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "time": at,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record, self._process),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return without_secrets(json.dumps(line))


class Text(logging.Formatter):
    """Formats a record as one line of text, with further lines for a traceback.

    process: see `log_to_stderr`.
    """

    def __init__(self, process: str = "") -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s%(fields)s")
        self._process = process
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text, with the time in UTC. Secrets of keys are masked.

        FIELDS follow as ` name=value`, empty ones left out. A traceback adds lines.
        """
        fields = _fields(record, self._process)
        record.fields = "".join(f" {name}={value}" for name, value in fields.items())
        return without_secrets(super().format(record))


def log_to_stderr(level: str = "INFO", process: int | None = None) -> None:
    """Write all logs from `level` on to stderr: text on a terminal, JSON lines elsewhere.

    Replaces all handlers of the root logger. Lines pass through `log_throttle`. process: the number
    of this process among several, which each line gets as PROCESS. Raises ValueError for an unknown
    level.
    """
    number = "" if process is None else str(process)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Text(number) if sys.stderr.isatty() else JsonLines(number))
    handler.addFilter(log_throttle)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
