"""The state of limits in answers: header fields for the caller, dynamic metadata for Envoy.

RateLimit-Policy and RateLimit are those of draft-ietf-httpapi-ratelimit-headers-10, lists of
structured fields (RFC 9651): `"minute";q=300;w=60` and `"minute";r=299;t=60`. A limit that is not
enforced is for the operator only, in the metadata:

    limits      each limit, in the shape in which Envoy's rate limit filter takes an override
    remaining   units left of each
    violated    names of the limits that refused the request, with blanks between
    would_deny  names of the limits that would have, were they enforced
"""

from collections.abc import Sequence
from itertools import chain
from struct import Struct
from typing import Any, Final

from authz.core.limits.key_limits import KeyLimits, LimitResult
from authz.core.limits.limit import Limit
from authz.core.limits.periods import Calendar
from authz.rpc.check.wire import STRING, STRUCT, field, header, metadata

MAX_OVERRIDE: Final = (1 << 32) - 1  # Envoy holds requests_per_unit in 32 bits
DAY_SECONDS: Final = 86_400

_OK, _TO_CALLER = 3, 6  # of CheckResponse, and of its ok_response
_NUMBER: Final = b"\x11"  # the tag of its number_value, a double


class RateLimitHeaders:
    """The header fields and metadata of one key's limits. Made once, used by every answer.

    headers, metadata: what is the same in every answer.
    """

    def __init__(self, terms: KeyLimits, *, legacy: bool) -> None:
        self._terms = terms
        self._legacy = legacy
        self._told = [i for i, limit in enumerate(terms.limits) if limit.enforce]
        policies = ", ".join(_policy(terms.names[i], terms.limits[i]) for i in self._told)
        self.headers = {"ratelimit-policy": policies} if policies else {}
        overrides = zip(terms.names, map(_override, terms.limits), strict=True)
        self.metadata = {"limits": dict(overrides)}
        self._items = _items_format(terms)
        self._struct, self._pieces = _remaining_layout(terms.names)
        self._last: tuple[LimitResult | None, bytes] = (None, b"")

    def of_allowed(self, spent: LimitResult) -> bytes:
        """Return the bytes that are appended to a CheckResponse that allows.

        Whatever passes on one lease is told the same, so that is made once.
        """
        last, answer = self._last
        if last is not spent:
            answer = self._of_allowed(spent)
            self._last = spent, answer
        return answer

    def _of_allowed(self, spent: LimitResult) -> bytes:
        seconds = (-(-ms // 1000) for ms in spent.resets_ms)
        numbers = tuple(chain.from_iterable(zip(spent.remaining, seconds, strict=True)))
        headers = {"ratelimit": self._items % numbers} if self._told else {}
        if self._legacy:
            headers |= self._legacy_headers(spent)
        options = b"".join(field(_TO_CALLER, header(*pair)) for pair in headers.items())
        return field(_OK, options) + self._remaining(spent) + self._named(spent)

    def of_refused(self, spent: LimitResult) -> tuple[dict[str, str], bytes]:
        """Headers of a denial, and what the CheckResponse gets appended."""
        headers, retry_after = {}, 0
        items = []
        for i in self._told:
            item = f'"{self._terms.names[i]}";r={spent.remaining[i]}'
            if i in spent.violated and spent.retry_after_ms is not None:
                seconds = max(1, -(-spent.resets_ms[i] // 1000))
                retry_after = max(retry_after, seconds)
                item += f";t={seconds}"
            items.append(item)
        headers["ratelimit"] = ", ".join(items)
        if spent.retry_after_ms is not None:
            headers["retry-after"] = str(max(retry_after, -(-spent.retry_after_ms // 1000)))
        if self._legacy:
            headers |= self._legacy_headers(spent)
        return headers, self._remaining(spent) + self._named(spent)

    def _remaining(self, spent: LimitResult) -> bytes:
        pieces = self._pieces
        pieces[1::2] = spent.remaining
        return self._struct.pack(*pieces)

    def _named(self, spent: LimitResult) -> bytes:
        """The metadata `violated` and `would_deny`, without one that would be empty."""
        names: dict[str, list[str]] = {}
        for i in spent.violated:
            word = "violated" if self._terms.limits[i].enforce else "would_deny"
            names.setdefault(word, []).append(self._terms.names[i])
        entries = (
            metadata(word, field(STRING, " ".join(of).encode())) for word, of in names.items()
        )
        return b"".join(entries)

    def _legacy_headers(self, spent: LimitResult) -> dict[str, str]:
        """Of one limit: the last to let a refused request through, else the nearest to its end."""
        if not self._told:
            return {}
        limits = self._terms.limits

        def pressing(i: int) -> tuple[bool, float]:
            is_violated = i in spent.violated
            left = spent.remaining[i] / limits[i].limit
            return not is_violated, -spent.resets_ms[i] if is_violated else left

        i = min(self._told, key=pressing)
        return {
            "x-ratelimit-limit": str(limits[i].limit),
            "x-ratelimit-remaining": str(spent.remaining[i]),
            "x-ratelimit-reset": str(-(-spent.resets_ms[i] // 1000)),
        }


def violated_names(spent: LimitResult) -> tuple[str, ...]:
    """The limits that refused a request."""
    return tuple(
        spent.key_limits.names[i] for i in spent.violated if spent.key_limits.limits[i].enforce
    )


def _policy(name: str, limit: Limit) -> str:
    """One item of RateLimit-Policy. A month is said to be as long as the longest."""
    if isinstance(limit.per, Calendar):
        seconds = DAY_SECONDS if limit.per.anchor is None else 31 * DAY_SECONDS
    else:
        seconds = limit.per.length_ms // 1000
    return f'"{name}";q={limit.limit};w={seconds}'


def _override(limit: Limit) -> dict[str, str | int]:
    """The shape of envoy.config.route.v3.RateLimit.Override, in units of RateLimitUnit."""
    if isinstance(limit.per, Calendar):
        unit = "DAY" if limit.per.anchor is None else "MONTH"
    else:
        unit = limit.per.name.upper()
    return {"requests_per_unit": min(limit.limit, MAX_OVERRIDE), "unit": unit}


def _items_format(terms: KeyLimits) -> str:
    """RateLimit, to be filled with each limit's two numbers; one that is not told shows neither."""
    text, separator = "", ""
    for name, limit in zip(terms.names, terms.limits, strict=True):
        if limit.enforce:
            text += f'{separator}"{name}";r=%d;t=%d'
            separator = ", "
        else:
            text += "%.0s%.0s"
    return text


def _remaining_layout(names: Sequence[str]) -> tuple[Struct, list[Any]]:
    """The metadata `remaining`: how its bytes are packed, and of what, in turn: bytes, a number."""
    pieces: list[Any] = []
    for name in names:
        entry = field(1, field(1, name.encode()) + field(2, _NUMBER + bytes(8)))
        pieces += [entry[:-8], 0]
    fields = b"".join(piece + bytes(8) for piece in pieces[::2])
    whole = metadata("remaining", field(STRUCT, fields))
    pieces[0] = whole[: -len(fields)] + pieces[0]
    return Struct("<" + "".join(f"{len(piece)}sd" for piece in pieces[::2])), pieces
