"""Renderer: makes pages from templates. Every value is escaped. An unknown variable is a fault."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined, Undefined
from jinja2.utils import missing
from starlette.responses import HTMLResponse

from authz.console.pages import formats
from authz.console.pages.security_headers import HEADERS
from authz.console.pages.static_files import StaticFiles

if TYPE_CHECKING:
    from authz.console.pages.visit import Visit

NAVIGATION: Final = (
    ("/", "Overview", "read_keys"),
    ("/keys", "Keys", "read_keys"),
    ("/owners", "Clients", "read_keys"),
    ("/usage", "Usage", "read_usage"),
    ("/anomalies", "Unusual use", "read_usage"),
    ("/audit", "Audit", "read_audit"),
    ("/events", "Events", "read_audit"),
    ("/sidecars", "Sidecars", "read_fleet"),
    ("/incident", "Leaked key", "revoke"),
    ("/settings", "Settings", "read_keys"),
)
"""Path, label, and the action that a visitor needs for the page."""


class Absent(Undefined):
    """A member that an object of the API does not have is empty, and 0 as a number.

    The API leaves out members that are empty or 0. A variable that does not exist is a fault of a
    template.
    """

    def __new__(cls, hint: str | None = None, obj: Any = missing, *more: Any, **named: Any) -> Any:
        """Return an undefined value that is strict for a variable."""
        if obj is missing:
            return StrictUndefined(hint, obj, *more, **named)
        return super().__new__(cls)

    def __int__(self) -> int:  # type: ignore[override]  # that of Undefined raises
        return 0

    def __float__(self) -> float:  # type: ignore[override]
        return 0.0


class Renderer:
    """Makes pages. version: of this program."""

    def __init__(self, static: StaticFiles, version: str) -> None:
        self.static = static
        self._version = version
        self.environment = Environment(
            loader=PackageLoader("authz.console.pages"),
            autoescape=True,
            undefined=Absent,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.environment.filters |= {
            "time": formats.time_text,
            "day": formats.day_text,
            "moment": formats.moment,
            "moment_or_text": formats.moment_or_text,
            "span": formats.span,
            "lasting": formats.lasting,
            "seconds": formats.seconds_of,
            "number": formats.number,
            "counted": formats.counted,
            "usd": formats.usd,
            "size": formats.size,
            "word": formats.word,
            "kid": formats.kid_of,
        }

    def page(
        self,
        template: str,
        visit: "Visit | None",
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **values: Any,
    ) -> HTMLResponse:
        """Return a page. visit: None for a visitor without a session."""
        text = self.part(template, visit, **values)
        return HTMLResponse(text, status, {**HEADERS, **(headers or {})})

    def part(self, template: str, visit: "Visit | None", **values: Any) -> str:
        """Return a page, or a part of one, as text."""
        now = visit.now if visit else datetime.now(UTC)
        return self.environment.get_template(template).render(
            visit=visit,
            static=self.static.url,
            version=self._version,
            navigation=NAVIGATION,
            now=now,
            ago=lambda time: formats.ago(time, now),
            **values,
        )

    def error(
        self, visit: "Visit | None", status: int, title: str, text: str, **values: Any
    ) -> HTMLResponse:
        """Return a page about an error. text: one or two sentences about what to do."""
        values = {"back": "/", "reason": ""} | values
        return self.page("error.html", visit, status, title=title, text=text, **values)
