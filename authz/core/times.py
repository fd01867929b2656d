"""Times as texts, in RFC 3339 and UTC."""

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS: Final = 253_402_300_799_999


def rfc3339(milliseconds: int) -> str:
    """Return a time such as `2026-12-01T00:00:00.000Z`. milliseconds: since the epoch.

    Negative values give the epoch, later ones at most the last millisecond of the year 9999.
    """
    moment = _EPOCH + timedelta(milliseconds=min(max(milliseconds, 0), _LAST_MS))
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
