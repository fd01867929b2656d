"""Limits in a response: header fields for the caller, dynamic metadata for Envoy.

RateLimit-Policy and RateLimit are those of draft-ietf-httpapi-ratelimit-headers-10, lists of
structured fields (RFC 9651): `"minute";q=300;w=60` and `"minute";r=299;t=60`. Credits have neither
`w` nor `t`, which the draft leaves optional: they have no window, and never reset. Only the
metadata names a limit that is not enforced, for the operator. A budget has its quota unit `qu`:

    reserved    what the request took from budgets, for its usage record
    limits      each limit, in the shape of an override of Envoy's rate limit filter
    remaining   the units left of each limit
    violated    the names of the limits that refused the request, with blanks between
    would_deny  the names of limits that are not enforced and have no room
"""

from collections.abc import Sequence
from itertools import chain
from struct import Struct
from typing import Any, Final

from authz.core.limits.amounts import Of
from authz.core.limits.key_limits import KeyLimits, LimitResult
from authz.core.limits.limit import Limit
from authz.core.limits.periods import Sliding
from authz.rpc.check.wire import OK, OK_HEADERS, STRING, STRUCT, field, header, metadata

MAX_OVERRIDE: Final = (1 << 32) - 1  # Envoy holds requests_per_unit in 32 bits
DAY_SECONDS: Final = 86_400
# Of each calendar period, in seconds.
LONGEST: Final = {
    "calendar-day": DAY_SECONDS,
    "week": 7 * DAY_SECONDS,
    "month": 31 * DAY_SECONDS,
    "year": 366 * DAY_SECONDS,
}
# Quota units of RateLimit-Policy. The draft registers `content-bytes`.
UNITS: Final = {Of.TOKENS: "tokens", Of.USD: "micro-usd", Of.BYTES_OUT: "content-bytes"}

_TO_CALLER = 6  # of ok_response
_NUMBER: Final = b"\x11"  # the tag of its number_value, a double


class RateLimitHeaders:
    """The limits of one key, for its responses. Made once for many responses.

    headers, metadata: the parts that are the same in every response (RateLimit-Policy, `limits`).
    windows: of LimitResult, in seconds; they hold for the current calendar periods. legacy: also
    write X-RateLimit headers. budget_header: the request header that tells the backend what is left
    of enforced budgets, in the format of `ratelimit`; empty: none does.
    """

    def __init__(
        self,
        key_limits: KeyLimits,
        windows: tuple[int, ...] = (),
        *,
        legacy: bool,
        budget_header: str = "",
    ) -> None:
        self._key_limits = key_limits
        self.windows = windows
        self._legacy = legacy
        self._enforced = [i for i, limit in enumerate(key_limits.limits) if limit.enforce]
        self._budget_header = budget_header
        self._budgets = [i for i in self._enforced if key_limits.limits[i].is_budget]
        policies = ", ".join(
            _policy(key_limits.names[i], key_limits.limits[i], windows[i] if windows else 0)
            for i in self._enforced
        )
        self.headers = {"ratelimit-policy": policies} if policies else {}
        overrides = zip(key_limits.names, map(_override, key_limits.limits), strict=True)
        self.metadata = {"limits": {name: found for name, found in overrides if found}}
        self._items = _items_format(key_limits)
        self._struct, self._pieces = _remaining_layout(key_limits.names)
        self._last: tuple[LimitResult | None, bytes] = (None, b"")

    @property
    def has_budget_header(self) -> bool:
        """Whether an allow has the budget header."""
        return bool(self._budget_header and self._budgets)

    def of_allowed(self, result: LimitResult) -> bytes:
        """Return the bytes to append to a CheckResponse that allows.

        They hold the headers and the metadata that depend on the result. Seconds are rounded up.
        The bytes of the last result are kept: all requests that pass on one lease share a result.
        """
        last, suffix = self._last
        if last is not result:
            suffix = self._of_allowed(result)
            self._last = result, suffix
        return suffix

    def _of_allowed(self, result: LimitResult) -> bytes:
        seconds = (-(-ms // 1000) for ms in result.resets_ms)
        numbers = tuple(chain.from_iterable(zip(result.remaining, seconds, strict=True)))
        headers = {"ratelimit": self._items % numbers} if self._enforced else {}
        if self._legacy:
            headers |= self._legacy_headers(result)
        options = b"".join(field(_TO_CALLER, header(*pair)) for pair in headers.items())
        if self.has_budget_header:
            names, left = self._key_limits.names, result.remaining
            text = ", ".join(f'"{names[i]}";r={left[i]}' for i in self._budgets)
            options += field(OK_HEADERS, header(self._budget_header, text))
        found = field(OK, options) + self._remaining(result) + self._named(result)
        if result.reserved:
            found += metadata("reserved", field(STRING, result.reserved.encode()))
        return found

    def of_refused(self, result: LimitResult) -> tuple[dict[str, str], bytes]:
        """Return the headers of a denial, and the metadata bytes to append to the CheckResponse.

        Both hold only the parts that depend on the result. Only a violated limit has its reset `t`
        in seconds, rounded up, at least 1. `retry-after` is in seconds, rounded up. `t` and
        `retry-after` are left out if the request can never pass (`retry_after_ms` is None).
        """
        headers, retry_after = {}, 0
        items = []
        for i in self._enforced:
            item = f'"{self._key_limits.names[i]}";r={result.remaining[i]}'
            if i in result.violated and result.retry_after_ms is not None:
                seconds = max(1, -(-result.resets_ms[i] // 1000))
                retry_after = max(retry_after, seconds)
                item += f";t={seconds}"
            items.append(item)
        headers["ratelimit"] = ", ".join(items)
        if result.retry_after_ms is not None:
            headers["retry-after"] = str(max(retry_after, -(-result.retry_after_ms // 1000)))
        if self._legacy:
            headers |= self._legacy_headers(result)
        return headers, self._remaining(result) + self._named(result)

    def _remaining(self, result: LimitResult) -> bytes:
        pieces = self._pieces
        pieces[1::2] = result.remaining
        return self._struct.pack(*pieces)

    def _named(self, result: LimitResult) -> bytes:
        """Return the serialised metadata `violated` and `would_deny`, each only if it has names."""
        names: dict[str, list[str]] = {}
        for i in result.violated:
            word = "violated" if self._key_limits.limits[i].enforce else "would_deny"
            names.setdefault(word, []).append(self._key_limits.names[i])
        entries = (
            metadata(word, field(STRING, " ".join(of).encode())) for word, of in names.items()
        )
        return b"".join(entries)

    def _legacy_headers(self, result: LimitResult) -> dict[str, str]:
        """Return X-RateLimit headers of one enforced limit; none if no limit is enforced.

        It is the violated limit with the longest wait, else the limit with the smallest share left.
        The reset is in seconds, rounded up; credits have none.
        """
        if not self._enforced:
            return {}
        limits = self._key_limits.limits

        def pressing(i: int) -> tuple[bool, float]:
            is_violated = i in result.violated
            left = result.remaining[i] / limits[i].capacity
            return not is_violated, -result.resets_ms[i] if is_violated else left

        i = min(self._enforced, key=pressing)
        headers = {
            "x-ratelimit-limit": str(limits[i].capacity),
            "x-ratelimit-remaining": str(result.remaining[i]),
        }
        if not limits[i].never_resets:
            headers["x-ratelimit-reset"] = str(-(-result.resets_ms[i] // 1000))
        return headers


def violated_names(result: LimitResult) -> tuple[str, ...]:
    """Return the names of the enforced limits that refused a request. Empty if it was allowed."""
    return tuple(
        result.key_limits.names[i] for i in result.violated if result.key_limits.limits[i].enforce
    )


def _policy(name: str, limit: Limit, seconds: int) -> str:
    """Return one item of RateLimit-Policy: `q` in units, `w` in seconds; credits have no `w`.

    seconds: the length of the window or of the current period; 0 if it is not known. Then a week, a
    month and a year have their longest length.
    """
    per = limit.per
    unit = f';qu="{UNITS[limit.of]}"' if limit.is_budget else ""
    if limit.never_resets:
        return f'"{name}";q={limit.limit}{unit}'
    if not seconds:
        seconds = per.length_ms // 1000 if isinstance(per, Sliding) else LONGEST[per.name]
    if limit.is_token_bucket:  # as much as can be left, and the time in which it refills
        seconds = -(-seconds * limit.capacity // limit.limit)
    return f'"{name}";q={limit.capacity};w={seconds}{unit}'


def _override(limit: Limit) -> dict[str, str | int]:
    """Return an envoy.config.route.v3.RateLimit.Override, capped at MAX_OVERRIDE requests.

    Empty for a weekly limit and for credits: Envoy has no unit for them. Empty for budgets, too.
    """
    unit = limit.per.name.upper().removeprefix("CALENDAR-")
    if unit == "WEEK" or limit.never_resets or limit.is_budget:
        return {}
    return {"requests_per_unit": min(limit.limit, MAX_OVERRIDE), "unit": unit}


def _items_format(key_limits: KeyLimits) -> str:
    """Return a %-format of RateLimit that takes two numbers of each limit: units left and seconds.

    It writes only enforced limits, and no seconds of credits. Empty without limits.
    """
    text, separator = "", ""
    for name, limit in zip(key_limits.names, key_limits.limits, strict=True):
        if limit.enforce:
            seconds = "%.0s" if limit.never_resets else ";t=%d"
            text += f'{separator}"{name}";r=%d{seconds}'
            separator = ", "
        else:
            text += "%.0s%.0s"
    return text


def _remaining_layout(names: Sequence[str]) -> tuple[Struct, list[Any]]:
    """Return a Struct that packs the metadata `remaining`, and a list of its arguments.

    The list has bytes and a number in turn; the numbers are 0 and are to be replaced by the units
    left. names: at least one.
    """
    pieces: list[Any] = []
    for name in names:
        entry = field(1, field(1, name.encode()) + field(2, _NUMBER + bytes(8)))
        pieces += [entry[:-8], 0]
    fields = b"".join(piece + bytes(8) for piece in pieces[::2])
    whole = metadata("remaining", field(STRUCT, fields))
    pieces[0] = whole[: -len(fields)] + pieces[0]
    return Struct("<" + "".join(f"{len(piece)}sd" for piece in pieces[::2])), pieces
