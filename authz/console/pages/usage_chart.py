"""The usage of a key or of everything by outcome, for a chart and its table."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from authz.console.pages.api_client import Answer, Call
from authz.console.pages.formats import moment


class Span(NamedTuple):
    """A span of time up to now, in slots. group: as the API names it. step: seconds of a slot."""

    label: str
    length: timedelta
    group: str
    step: int


SPANS: Final[Mapping[str, Span]] = {
    "1h": Span("1 hour", timedelta(hours=1), "USAGE_GROUP_MINUTE", 60),
    "24h": Span("24 hours", timedelta(hours=24), "USAGE_GROUP_HOUR", 3600),
    "30d": Span("30 days", timedelta(days=30), "USAGE_GROUP_DAY", 86_400),
}
OUTCOMES: Final = (
    ("ok", "ok", "Successful"),
    ("clientError", "client_error", "Client errors"),
    ("serverError", "server_error", "Server errors"),
    ("denied", "denied", "Denied by authz"),
    ("aborted", "aborted", "Aborted"),
)
"""The name in the API, the class of the style sheet, and the words of each outcome."""


@dataclass(frozen=True, slots=True)
class Chart:
    """The data of a chart. since, until: seconds since the epoch. fault: why there is none."""

    name: str
    since: int
    until: int
    step: int
    rows: tuple[Mapping[str, Any], ...] = ()
    total: Mapping[str, Any] | None = None
    denials: Mapping[str, str] | None = None
    missing: int = 0
    fault: str = ""


def chart_name(text: str) -> str:
    """Return the name of a span in a URL, `24h` for another text."""
    return text if text in SPANS else "24h"


def usage_call(name: str, key: str = "") -> Call:
    """Return the call for the usage in a span up to now. key: `keys/{kid}`; empty: everything."""
    chosen = SPANS[name]
    since = datetime.now(UTC) - chosen.length
    query = [("groupBy", chosen.group), ("sinceTime", f"{since:%Y-%m-%dT%H:%M:%SZ}")]
    if key:
        query.insert(0, ("key", key))
    return Call("GET", "/v1/usage", tuple(query))


def chart_of(name: str, answer: Answer) -> Chart:
    """Return the chart of an answer to `usage_call`."""
    if not answer.is_ok:
        return Chart(name, 0, 0, SPANS[name].step, fault=answer.detail)
    report = answer.data["report"]
    return Chart(
        name,
        int(moment(report["startTime"]).timestamp()),
        int(moment(report["endTime"]).timestamp()),
        SPANS[name].step,
        tuple(report.get("rows", ())),
        report.get("total", {}),
        report.get("deniedByReason", {}),
        int(report.get("completeness", {}).get("missing", 0)),
    )
