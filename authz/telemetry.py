"""Counters and logs: what the sidecar says about itself."""

import json
import logging
import sys
import time
from collections import Counter
from datetime import UTC, datetime

from authz.core.decision import Reason
from authz.core.ports import Event


class Counters:
    """A Probe in plain integers."""

    def __init__(self) -> None:
        self.allowed = 0
        self.denied: dict[Reason, int] = dict.fromkeys(Reason, 0)
        self.events: dict[Event, int] = dict.fromkeys(Event, 0)

    def decided(self, reason: Reason | None) -> None:
        """See Probe."""
        if reason is None:
            self.allowed += 1
        else:
            self.denied[reason] += 1

    def count(self, event: Event, times: int = 1) -> None:
        """See Probe."""
        self.events[event] += times

    def snapshot(self) -> dict[str, int]:
        """Every count that is not zero, by name."""
        named = Counter({"allowed": self.allowed})
        named.update({f"denied.{reason.value}": n for reason, n in self.denied.items()})
        named.update({event.value: n for event, n in self.events.items()})
        return {name: n for name, n in named.items() if n}


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
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log_to_stderr(level: str = "INFO") -> None:
    """Logs go to stderr: readable text on a terminal, JSON lines elsewhere."""
    handler = logging.StreamHandler(sys.stderr)
    if sys.stderr.isatty():
        text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
        text.converter = time.gmtime
        handler.setFormatter(text)
    else:
        handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
