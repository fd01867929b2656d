"""Throttle: lowers the rates of one key until a time. Quotas, budgets and credits stay.

A throttle slows a key down. A lower quota would stop it, as the quota may be used up by then.
"""

import re
from dataclasses import dataclass, replace
from typing import Final

from authz.core.errors import BadInput
from authz.core.fields import duration_ms, shown
from authz.core.limits.limit import Limit
from authz.core.times import rfc3339

LEAST: Final = 25  # percent
MOST: Final = 99
NO_THROTTLE: Final = 2**62  # a time after the end of every throttle, in ms
MAX_MS: Final = 30 * 86_400_000
SLACK_MS: Final = 3_600_000  # by which the clock of a command may be ahead
_TEXT: Final = re.compile(r"([1-9][0-9])%:([0-9a-z]{1,20})", re.ASCII)
_STORED: Final = re.compile(r"([1-9][0-9])@([0-9]{1,15})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Throttle:
    """The rates of a key are `percent` (25 to 99) of what they are else. until: ms since epoch."""

    percent: int
    until: int

    def __str__(self) -> str:
        """Return the throttle in words, such as `25% until 2026-12-01T00:00:00.000Z`."""
        return f"{self.percent}% until {rfc3339(self.until)}"

    def stored(self) -> str:
        """Return the text that `of_stored` parses."""
        return f"{self.percent}@{self.until}"

    def lowered(self, limit: Limit) -> Limit:
        """Return a limit as it is while this throttle lasts: at least 1, and burst at least 1.

        A token bucket stays one: its burst is above its limit.
        """
        if limit.is_quota:
            return limit
        most = max(1, limit.limit * self.percent // 100)
        burst = limit.burst
        if burst is not None:
            burst = max(1, burst * self.percent // 100)
            burst = max(burst, most + 1) if limit.is_token_bucket else min(burst, most)
        return replace(limit, limit=most, burst=burst)

    def with_former(self, former: "Throttle | None", now: int) -> "Throttle":
        """Return this throttle, or a lower and longer one if `former` is and lasts at `now`."""
        if former is None or former.until <= now:
            return self
        return Throttle(min(self.percent, former.percent), max(self.until, former.until))

    def is_no_weaker(self, other: "Throttle | None") -> bool:
        """Return whether this throttle lowers at least as much, for at least as long."""
        return other is None or (self.percent <= other.percent and self.until >= other.until)


def checked(field: str, percent: int, until: int) -> Throttle:
    """Return a throttle. Raises BadInput about `field` for another percentage than 25 to 99."""
    if not LEAST <= percent <= MOST:
        raise BadInput(field, f"{percent} %: {LEAST} to {MOST} percent of the rates")
    return Throttle(percent, until)


def require_its_time(throttle: Throttle, now: int) -> None:
    """Raise BadInput about `throttle` if it is over, or ends more than 30 days (and 1 h) from now.

    now: ms since the epoch.
    """
    if not now < throttle.until <= now + MAX_MS + SLACK_MS:
        raise BadInput("throttle", f"until {rfc3339(throttle.until)}: it ends within 30d from now")


def parse(field: str, text: str, now: int) -> Throttle:
    """Parse a throttle such as `25%:6h`. now: ms since the epoch.

    Raises BadInput for another text, and for longer than 30 days.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        raise BadInput(field, f"{shown(text)} is not a throttle, such as 25%:6h")
    ms = duration_ms(field, match[2])
    if not 0 < ms <= MAX_MS:
        raise BadInput(field, f"{shown(text)}: for up to 30d")
    return checked(field, int(match[1]), now + ms)


def of_stored(text: str) -> Throttle:
    """Parse a text of `Throttle.stored`. Raises ValueError for another one."""
    match = _STORED.fullmatch(text)
    if match is None or int(match[1]) < LEAST:
        raise ValueError(f"limits: {shown(text)} is not a throttle")
    return Throttle(int(match[1]), int(match[2]))
