"""The page about usage: who used what in a span of time, in groups, also as CSV."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from authz.console.pages.api_client import Answer, Call
from authz.console.pages.commands import does
from authz.console.pages.formats import moment
from authz.console.pages.key_filter import KeyFilter
from authz.console.pages.security_headers import HEADERS
from authz.console.pages.spreadsheets import line
from authz.console.pages.usage_chart import OUTCOMES
from authz.console.pages.visit import Console, Visit

GROUPS: Final[Mapping[str, str]] = {
    each: f"USAGE_GROUP_{each.upper()}"
    for each in ("hour", "day", "month", "route", "status", "model")
}
TOKENS: Final = (
    ("inputTokens", "Input tokens"),
    ("cachedTokens", "Of them cached"),
    ("outputTokens", "Output tokens"),
    ("reasoningTokens", "Of them reasoning"),
    ("estimated", "Estimated requests"),
)
"""The numbers of a model: their names in the API, and their words."""
OWNERS: Final = ("client", "project", "tenant")
TOP: Final = 20
YEARS: Final = range(2000, 2200)
_DAY: Final = timedelta(days=1)
_COUNTS: Final = (
    *("requests", "ok", "clientError", "serverError", "denied", "aborted", "units"),
    *("bytesIn", "bytesOut", "durationMs"),
    *("inputTokens", "outputTokens", "cachedTokens", "cacheWriteTokens", "reasoningTokens"),
    *("microUsd", "estimated"),
)


@dataclass(frozen=True, slots=True)
class Question:
    """A question about usage, from the URL. since, until: days in UTC, both included."""

    since: datetime
    until: datetime
    group: str
    kid: str
    owners: KeyFilter

    @classmethod
    def of(cls, visit: Visit) -> "Question":
        """Return the question of a URL. By default: the last 30 days, by day."""
        today = datetime(visit.now.year, visit.now.month, visit.now.day, tzinfo=UTC)
        until = _day(visit.query("until")) or today
        since = _day(visit.query("since")) or until - 29 * _DAY
        group = visit.query("by")
        named = [(name, visit.query(name)) for name in OWNERS]
        return cls(
            min(since, until),
            until,
            group if group in GROUPS else "day",
            visit.query("key"),
            KeyFilter.of(named),
        )

    @property
    def query(self) -> str:
        """The parameters of the URL, encoded."""
        pairs = [
            ("since", f"{self.since:%Y-%m-%d}"),
            ("until", f"{self.until:%Y-%m-%d}"),
            ("by", self.group),
            *([("key", self.kid)] if self.kid else []),
            *self.owners.values,
        ]
        return urlencode(pairs)

    def call(self) -> Call:
        """Return the call that answers the question."""
        pairs = [
            ("key", f"keys/{self.kid}" if self.kid else ""),
            ("filter", "" if self.kid else self.owners.text),
            ("sinceTime", f"{self.since:%Y-%m-%dT00:00:00Z}"),
            ("untilTime", f"{self.until + _DAY:%Y-%m-%dT00:00:00Z}"),
            ("groupBy", GROUPS[self.group]),
        ]
        return Call("GET", "/v1/usage", tuple((name, value) for name, value in pairs if value))

    def command(self) -> list[str]:
        """Return the words of the command that does the same."""
        picked = ["--key", self.kid] if self.kid else []
        for name, value in () if self.kid else self.owners.values:
            picked += [f"--{name}", value]
        times = [f"{self.since:%Y-%m-%dT00:00:00Z}", f"{self.until + _DAY:%Y-%m-%dT00:00:00Z}"]
        return ["usage", *picked, "--since", times[0], "--until", times[1], "--by", self.group]


def routes(console: Console) -> list[Route]:
    """Return the routes of the page."""
    return [
        Route("/usage", console.endpoint(_page)),
        Route("/usage.csv", console.endpoint(_csv)),
    ]


async def _page(visit: Visit) -> Response:
    asked = Question.of(visit)
    top_query = [("limit", str(TOP)), ("month", f"{asked.until:%Y-%m}")]
    report, top = await asyncio.gather(
        visit.api.call(asked.call()), visit.api.get("/v1/usage/topKeys", top_query)
    )
    if report.status == 403:  # noqa: PLR2004
        return visit.failure(report)
    found: Mapping[str, Any] = report.data.get("report", {}) if report.is_ok else {}
    rows = [(_name(row), row["counts"]) for row in found.get("rows", ())]
    return visit.page(
        "usage.html",
        asked=asked,
        report=report,
        rows=rows,
        total=found.get("total", {}),
        has_tokens=_has_tokens(found.get("total", {})),
        found=found,
        most=max(
            (int(row["counts"].get("requests", 0)) for row in found.get("rows", ())), default=1
        ),
        top=top,
        groups=GROUPS,
        owners=OWNERS,
        outcomes=OUTCOMES,
        tokens=TOKENS,
        months=_months(visit.now),
        does=does(asked.command(), asked.call()),
    )


async def _csv(visit: Visit) -> Response:
    asked = Question.of(visit)
    answer = await visit.api.call(asked.call())
    if not answer.is_ok:
        return visit.failure(answer, "/usage")
    headers = {**HEADERS, "content-disposition": 'attachment; filename="usage.csv"'}
    lines = _lines(asked.group, answer)
    return StreamingResponse(lines, 200, headers, "text/csv; charset=utf-8")


def _lines(group: str, answer: Answer) -> Iterator[bytes]:
    yield line([group, *_COUNTS])
    for row in answer.data["report"].get("rows", ()):
        counts = row["counts"]
        yield line([_name(row), *(str(counts.get(name, 0)) for name in _COUNTS)])


def _has_tokens(total: Mapping[str, Any]) -> bool:
    return any(int(total.get(name, 0)) for name in ("inputTokens", "outputTokens", "microUsd"))


def _name(row: Mapping[str, Any]) -> str:
    """Return the name of a group: its start in UTC, its route, its model or its status."""
    if "startTime" in row:
        return f"{moment(row['startTime']):%Y-%m-%d %H:%M}".removesuffix(" 00:00")
    return str(row.get("route") or row.get("model") or row.get("status", ""))


def _day(text: str) -> datetime | None:
    """Return the start of a day in UTC; None for a text that is no day of these years."""
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return day if day.year in YEARS else None


def _months(now: datetime) -> Iterable[tuple[str, str, str]]:
    """Return label, first day and last day of this month and of the last one."""
    first = datetime(now.year, now.month, 1, tzinfo=UTC)
    before = (first - _DAY).replace(day=1)
    yield "This month", f"{first:%Y-%m-%d}", f"{now:%Y-%m-%d}"
    yield "Last month", f"{before:%Y-%m-%d}", f"{first - _DAY:%Y-%m-%d}"
