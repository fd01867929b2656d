"""Times in RFC 3339 and UTC, and durations from now."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from authz.core import fields
from authz.core.errors import BadInput
from authz.core.times import rfc3339

NEVER: Final = "never"  # for a time or a lifetime without an end

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_RFC_3339: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII
)


def optional(milliseconds: int | None) -> str | None:
    """Return the time as `rfc3339` does, or None for an unset time."""
    return None if milliseconds is None else rfc3339(milliseconds)


def duration(milliseconds: int) -> str:
    """Return a duration in the largest exact unit: `90s`, `1500ms`; `0` for 0."""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0"


def rough(milliseconds: int) -> str:
    """Return a length of time in words, rounded down in its largest unit: `3 minutes`.

    Units are seconds, minutes, hours and days. Less than a second is `0 seconds`.
    """
    sizes = (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000), ("second", 1000))
    unit, size = next(((u, s) for u, s in sizes if milliseconds >= s), sizes[-1])
    number = milliseconds // size
    return f"{number} {unit}{'' if number == 1 else 's'}"


def moment_ms(field: str, text: str, now: int) -> int:
    """Return an RFC 3339 time, or the time a duration after `now`, in milliseconds since the epoch.

    Digits below a millisecond are cut off. Raises BadInput about `field` for any other text.
    """
    try:
        if _RFC_3339.fullmatch(text):
            return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)
        return now + fields.duration_ms(field, text)
    except (BadInput, ValueError, OverflowError):
        raise BadInput(
            field,
            f"{fields.shown(text)} is not a time, such as 2026-12-01T00:00:00Z, "
            "or a duration from now, such as 7d",
        ) from None


def ago_ms(field: str, text: str, now: int) -> int:
    """Return an RFC 3339 time, or the time a duration before `now`, in ms since the epoch.

    Raises BadInput about `field` for any other text.
    """
    try:
        if _RFC_3339.fullmatch(text):
            return moment_ms(field, text, now)
        return now - fields.duration_ms(field, text)
    except BadInput:
        raise BadInput(
            field,
            f"{fields.shown(text)} is not a time, such as 2026-12-01T00:00:00Z, "
            "or a duration before now, such as 24h",
        ) from None
