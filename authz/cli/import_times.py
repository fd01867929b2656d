"""Times as other systems write them."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS: Final = 253_402_300_799_999  # of the year 9999
# A number from here on is in milliseconds: as seconds it would be after the year 5138.
_MILLISECONDS_FROM: Final = 100_000_000_000


def past_ms(value: Any) -> int | None:
    """Return a time in milliseconds since the epoch, rounded down, or None if `value` is no time.

    A text is in ISO 8601; without a zone it is UTC. A number, also as text, is milliseconds since
    the epoch from 100,000,000,000 on, else seconds. A time outside of 1970 to 9999 is none.
    """
    if isinstance(value, str):
        value = value.strip()
        if value.isascii() and value.isdecimal():
            value = int(value[:20])
    if isinstance(value, str):
        return _from_text(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 <= value <= _LAST_MS:
        return None
    return int(value if value >= _MILLISECONDS_FROM else value * 1000)


def _from_text(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        found = (moment - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        return None
    return found if found >= 0 else None
