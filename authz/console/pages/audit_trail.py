"""The pages about the audit trail: its entries, also as CSV, and its verification."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from authz.console.pages.api_client import Answer, Call
from authz.console.pages.commands import does
from authz.console.pages.formats import time_text, word
from authz.console.pages.security_headers import HEADERS
from authz.console.pages.spreadsheets import line
from authz.console.pages.visit import Console, Visit

ACTIONS: Final = (
    *("issue", "import", "update", "rotate", "retire", "revoke", "disable", "enable", "delete"),
    *("roll_back", "hold", "reset_limits", "refund", "erase_usage", "leak", "canary", "budget"),
    *("rotate_signing_key", "remove_signing_key", "clear_blocked_clients", "allow_network"),
    *("forbid_network", "replay_events"),
)
PAGE_SIZE: Final = 50
CSV_PAGE: Final = 1000
CSV_PAGES: Final = 100
_NAMES: Final = ("key", "actor", "action", "since", "until")
_MAX: Final = 200  # characters of a condition


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions of a list of entries. values: by parameter of the URL, none of them empty."""

    values: Mapping[str, str]

    @classmethod
    def of(cls, visit: Visit) -> "Conditions":
        """Return the conditions in the URL."""
        given = {name: visit.query(name)[:_MAX] for name in _NAMES}
        if given["action"] not in ACTIONS:
            given["action"] = ""
        return cls({name: value for name, value in given.items() if value})

    def get(self, name: str) -> str:
        """Return the value of a parameter. Empty without it."""
        return self.values.get(name, "")

    @property
    def query(self) -> str:
        """The parameters of the URL, encoded."""
        return urlencode(self.values)

    def call(self, size: int, token: str) -> Call:
        """Return the call for one page."""
        action = self.get("action")
        pairs = [
            ("pageSize", str(size)),
            ("key", f"keys/{self.get('key')}" if self.get("key") else ""),
            ("actor", self.get("actor")),
            ("action", f"ACTION_{action.upper()}" if action else ""),
            ("sinceTime", _day(self.get("since"))),
            ("untilTime", _day(self.get("until"))),
            ("pageToken", token),
        ]
        return Call("GET", "/v1/auditEntries", tuple(pair for pair in pairs if pair[1]))

    def command(self) -> list[str]:
        """Return the words of the command that does the same."""
        options = {"key": "--kid", "actor": "--actor", "action": "--action"}
        found = ["audit", "list"]
        for name, option in options.items():
            if self.get(name):
                found += [option, self.get(name)]
        for name in ("since", "until"):
            if self.get(name):
                found += [f"--{name}", _day(self.get(name))]
        return found


def routes(console: Console) -> list[Route]:
    """Return the routes of the pages."""
    return [
        Route("/audit", console.endpoint(_list)),
        Route("/audit.csv", console.endpoint(_csv)),
        Route("/audit/verify", console.endpoint(_verify), methods=["POST"]),
    ]


async def _list(visit: Visit) -> Response:
    conditions, token = Conditions.of(visit), visit.query("page")
    call = conditions.call(PAGE_SIZE, token)
    answer = await visit.api.call(call)
    if not answer.is_ok and not answer.fields:
        return visit.failure(answer)
    following = answer.data.get("nextPageToken", "") if answer.is_ok else ""
    if following:
        following = urlencode({**conditions.values, "page": following})
    return visit.page(
        "audit.html",
        conditions=conditions,
        answer=answer,
        entries=answer.data.get("entries", ()) if answer.is_ok else (),
        following=following,
        is_first=not token,
        actions=ACTIONS,
        does=does(conditions.command(), call),
    )


async def _verify(visit: Visit) -> Response:
    call = Call("POST", "/v1/auditEntries:verify", body={})
    answer = await visit.api.call(call)
    if not answer.is_ok:
        return visit.failure(answer, "/audit")
    return visit.page(
        "audit_verified.html", found=answer.data, does=does(["audit", "verify"], call)
    )


async def _csv(visit: Visit) -> Response:
    conditions = Conditions.of(visit)
    first = await visit.api.call(conditions.call(CSV_PAGE, ""))
    if not first.is_ok:
        return visit.failure(first, "/audit")
    headers = {**HEADERS, "content-disposition": 'attachment; filename="audit.csv"'}
    lines = _lines(visit, conditions, first)
    return StreamingResponse(lines, 200, headers, "text/csv; charset=utf-8")


async def _lines(visit: Visit, conditions: Conditions, page: Answer) -> AsyncIterator[bytes]:
    """Yield the lines of at most CSV_PAGES pages. A failure is the last line."""
    yield line(["time", "action", "key", "actor", "source", "note", "version", "detail"])
    for _ in range(CSV_PAGES):
        for entry in page.data.get("entries", ()):
            yield line(_cells(entry))
        token = page.data.get("nextPageToken", "")
        if not token:
            return
        page = await visit.api.call(conditions.call(CSV_PAGE, token))
        if not page.is_ok:
            yield line([f"The list ends here: {page.detail}"])
            return
    yield line(["The list ends here: narrow it by times."])


def _cells(entry: Mapping[str, Any]) -> list[str]:
    return [
        time_text(entry.get("changeTime")),
        word(entry.get("action"), "ACTION"),
        str(entry.get("key", "")).removeprefix("keys/"),
        entry.get("actor", ""),
        entry.get("source", ""),
        entry.get("note", ""),
        str(entry.get("version", "")),
        json.dumps(entry.get("detail", {}), ensure_ascii=False),
    ]


def _day(text: str) -> str:
    return f"{text}T00:00:00Z" if text and "T" not in text else text
