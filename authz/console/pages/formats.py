"""Texts of values on pages: times, durations, numbers and words of the API."""

from datetime import UTC, datetime
from typing import Final

from authz.core.limits.amounts import dollars

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400
_UNITS: Final = ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min"), (1, "s"))
_THOUSAND: Final = 1000


def moment(text: str) -> datetime:
    """Return the time of an RFC 3339 text of the API, in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC)


def time_text(text: str | None) -> str:
    """Return a time of the API as `2026-11-29 18:04:05`, in UTC. Empty for no time."""
    return f"{moment(text):%Y-%m-%d %H:%M:%S}" if text else ""


def moment_or_text(text: str) -> str:
    """Return a time of the API as `2026-11-29 18:04:05 UTC`, and other text as it is."""
    try:
        return f"{time_text(text)} UTC"
    except (ValueError, OverflowError):
        return text


def day_text(text: str | None) -> str:
    """Return a time of the API as `2026-11-29`, in UTC. Empty for no time."""
    return f"{moment(text):%Y-%m-%d}" if text else ""


def span(seconds: float) -> str:
    """Return a length of time in its largest whole unit, such as `3 d`, `5 h` or `20 s`."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return "0 s"


def ago(text: str | None, now: datetime) -> str:
    """Return how far a time of the API is from `now`: `5 h ago`, `in 3 d`. Empty for no time."""
    if not text:
        return ""
    seconds = (now - moment(text)).total_seconds()
    return f"{span(seconds)} ago" if seconds >= 0 else f"in {span(-seconds)}"


def seconds_of(duration: str | None) -> float:
    """Return the seconds of a duration of the API, such as `604800s`. 0 for none."""
    return float(duration.removesuffix("s")) if duration else 0.0


def lasting(duration: str | None) -> str:
    """Return a duration of the API in words: `4 ms`, `7 d`. Empty for none."""
    if not duration:
        return ""
    seconds = seconds_of(duration)
    return span(seconds) if seconds >= 1 else f"{seconds * _THOUSAND:.0f} ms"


def number(value: int | str | None) -> str:
    """Return a whole number with thin groups of three digits. The API sends it as a text."""
    return f"{int(value or 0):,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def counted(value: int | str | None, noun: str) -> str:
    """Return a number of things in words: `1 request`, `2 requests`."""
    return f"{number(value)} {noun}{'' if int(value or 0) == 1 else 's'}"


def usd(micro: int | str | None) -> str:
    """Return micro-dollars as dollars, such as `$1.25`."""
    return f"${dollars(int(micro or 0))}"


def size(value: int | str | None) -> str:
    """Return a number of bytes in a binary unit, such as `1.5 MiB`."""
    amount = float(value or 0)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:  # noqa: PLR2004
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def word(value: str | None, prefix: str) -> str:
    """Return an enum value of the API as a word: `STATUS_ACTIVE` as `active`. Empty for none."""
    plain = (value or "").removeprefix(f"{prefix}_").lower().replace("_", " ")
    return "" if plain == "unspecified" else plain


def kid_of(name: str) -> str:
    """Return the kid of `keys/{kid}`."""
    return name.split("/")[1] if "/" in name else name
