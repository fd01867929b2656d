"""AdminApi: calls the REST API in process, in the name of a visitor.

A page has no rights of its own. The API checks the caller of each call, writes the audit trail and
refuses stale versions, as for any other client.
"""

import json
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from authz.core.access import Caller
from authz.core.http_exchange import HttpHandler, HttpRequest, HttpResponse

_JSON: Final = "application/json"
_REDIRECTS: Final = 300


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a call. data: the JSON object, of an error its problem (RFC 9457)."""

    status: int
    data: Mapping[str, Any] = field(repr=False)

    @property
    def is_ok(self) -> bool:
        """True for a status below 300."""
        return self.status < _REDIRECTS

    @property
    def detail(self) -> str:
        """One line about the error; empty for success."""
        return "" if self.is_ok else str(self.data.get("detail", ""))

    @property
    def reason(self) -> str:
        """The fixed word of the error, such as `KEY_NOT_FOUND`; empty for success."""
        return "" if self.is_ok else str(self.data.get("reason", ""))

    @property
    def fields(self) -> dict[str, str]:
        """The fields that the API refused, each with one line about it."""
        errors = () if self.is_ok else self.data.get("errors", ())
        return {each["field"]: each["description"] for each in errors}


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the API. path: begins with `/v1/`. body: None for a call without one."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def target(self) -> str:
        """Path and query, as a request line has them."""
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path


@dataclass(frozen=True, slots=True)
class Origin:
    """The browser behind a call, for the audit trail. peer: its IP address."""

    peer: str = ""
    user_agent: str = ""


class AdminApi:
    """The REST API for one visitor. handler: the API itself, without a socket between."""

    def __init__(self, handler: HttpHandler, caller: Caller, origin: Origin) -> None:
        self._handler = handler
        self._caller = caller
        self._origin = origin

    async def get(self, path: str, query: Iterable[tuple[str, str]] = ()) -> Answer:
        """Return the answer to a GET. Raises nothing for a refusal: see `Answer.is_ok`."""
        return await self.call(Call("GET", path, tuple(query)))

    async def call(self, call: Call) -> Answer:
        """Return the answer to a call with one response."""
        response = await self._respond(call)
        body = response.body
        if not isinstance(body, bytes):
            body = b"".join([part async for part in body])
        return Answer(response.status, json.loads(body) if body else {})

    async def lines(self, call: Call) -> "Answer | AsyncGenerator[Mapping[str, Any], None]":
        """Return the messages of a call that streams, or the answer of a call that was refused.

        A failure in the middle is a last message with the member `error`.
        """
        response = await self._respond(call)
        if response.status >= _REDIRECTS:
            assert isinstance(response.body, bytes)  # noqa: S101  the API streams no problem
            return Answer(response.status, json.loads(response.body))
        return _messages(response)

    async def _respond(self, call: Call) -> HttpResponse:
        headers = [("user-agent", self._origin.user_agent)] if self._origin.user_agent else []
        body = b""
        if call.body is not None:
            headers.append(("content-type", _JSON))
            body = json.dumps(call.body).encode()
        return await self._handler(
            HttpRequest(
                call.method,
                call.path,
                call.query,
                tuple(headers),
                body,
                self._origin.peer,
                self._caller,
            )
        )


async def _messages(response: HttpResponse) -> AsyncGenerator[Mapping[str, Any], None]:
    if isinstance(response.body, bytes):
        return
    try:
        async for line in response.body:
            yield json.loads(line)
    finally:
        if isinstance(response.body, AsyncGenerator):
            await response.body.aclose()
