"""The page about keys whose use is unusual, and the risk of one key."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Route

from authz.console.pages.api_client import Answer, Call
from authz.console.pages.commands import does
from authz.console.pages.formats import word
from authz.console.pages.visit import Console, Visit

PATH: Final = "/v1/usage/anomalies"
SHOWN: Final = 100
_SHARES: Final = frozenset({"denied", "errors"})
_FEATURES: Final = {
    "rate": "more requests",
    "silence": "fewer requests",
    "networks": "new networks",
    "agents": "new user agents",
    "denied": "more denials",
    "errors": "more errors",
}
_CAUSES: Final = {
    "no_history": "too little history",
    "many_callers": "many callers: one more says nothing",
    "private_addresses": "private addresses only",
    "no_addresses": "no addresses",
}


@dataclass(frozen=True, slots=True)
class Risk:
    """The risk of a key in words. level: `low`, `elevated` or `high`."""

    level: str
    reasons: tuple[str, ...] = ()
    last: str = ""


def routes(console: Console) -> list[Route]:
    """Return the route of the page."""
    return [Route("/anomalies", console.endpoint(_list, "read_usage"))]


def risk_call(kid: str) -> Call:
    """Return the call that asks for the risk of one key."""
    return Call("GET", PATH, (("name", f"keys/{kid}"), ("limit", "1")))


def risk_of(answer: Answer) -> Risk | None:
    """Return the risk of the key that `risk_call` asked for. None without an answer."""
    if not answer.is_ok:
        return None
    found = answer.data.get("keys") or ()
    if found:
        return _risk(found[0])
    return Risk("low")


async def _list(visit: Visit) -> Response:
    call = Call("GET", PATH, (("limit", str(SHOWN)),))
    answer = await visit.api.call(call)
    if not answer.is_ok:
        return visit.failure(answer)
    judged = answer.data.get("judged")
    gaps = [
        (
            _FEATURES.get(word(each.get("feature"), "ANOMALY_FEATURE"), ""),
            _CAUSES.get(each.get("cause", ""), each.get("cause", "")),
            int(each.get("keyCount", 0)),
        )
        for each in (judged or {}).get("notJudged", ())
    ]
    return visit.page(
        "anomalies.html",
        found=[(one, _risk(one)) for one in answer.data.get("keys") or ()],
        count=int(answer.data.get("keyCount", 0)),
        judged=judged,
        gaps=gaps,
        does=does(["usage", "anomalies", "--limit", str(SHOWN)], call),
    )


def _risk(one: Mapping[str, Any]) -> Risk:
    reasons = tuple(map(_reason, one.get("reasons", ())))
    return Risk(word(one.get("risk"), "ANOMALY_RISK"), reasons, one.get("lastTime", ""))


def _reason(one: Mapping[str, Any]) -> str:
    """Return a reason in words: `more requests: 5,200, usually 1,200`."""
    feature = word(one.get("feature"), "ANOMALY_FEATURE")
    observed, expected = (float(one.get(name) or 0) for name in ("observed", "expected"))
    shape = "{:.0%}" if feature in _SHARES else "{:,.0f}"
    numbers = f"{shape.format(observed)}, usually {shape.format(expected)}"
    return f"{_FEATURES.get(feature, feature)}: {numbers}"
