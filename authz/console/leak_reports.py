"""Reports of leaked keys over HTTP: from GitHub, and from other scanners that sign them."""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Final, Protocol

from starlette.routing import Route

from authz.console.http_api import HttpApi
from authz.core.errors import Fault
from authz.core.http_exchange import HttpRequest, HttpResponse
from authz.core.leaks import Finding, Leak, labels, parsed
from authz.core.ports import Clock
from authz.core.token_bucket import TokenBucket

GITHUB: Final = "/v1/leaks/github"
SIGNED: Final = "/v1/leaks/report"
MAX_BODY: Final = 1024 * 1024
SECONDS: Final = 10.0  # for a report to arrive
SMALL_BODY: Final = 64 * 1024
# Signatures. A stranger can use up a bound, so that of small reports is above what a process
# answers.
CHECKS_PER_SECOND: Final = 1000  # of small reports, 0.1 ms each
LARGE_PER_SECOND: Final = 50  # of others, 1 ms each
_HEADERS: Final = {"content-type": "application/json", "cache-control": "no-store"}

log = logging.getLogger("authz.leaks")


class Reports(Protocol):
    """Carries out reports. Methods raise Unavailable."""

    async def is_known(self, report: str) -> bool:
        """Return whether a report with this id was carried out."""
        ...

    async def carry_out(self, report: str, origin: str, leaks: Sequence[Leak]) -> list[Finding]:
        """Act on each entry, and return the findings in order."""
        ...


Proof = Callable[[HttpRequest], Awaitable[str]]
"""Returns the id of a signed report; empty if it is not signed as it should be. Raises
Unavailable."""


class LeakEndpoint:
    """Answers the reports of one origin."""

    def __init__(self, origin: str, proof: Proof, reports: Reports, clock: Clock) -> None:
        self._origin = origin
        self._proof = proof
        self._reports = reports
        self._clock = clock
        self._small = TokenBucket(CHECKS_PER_SECOND)
        self._large = TokenBucket(LARGE_PER_SECOND)

    async def respond(self, request: HttpRequest) -> HttpResponse:
        """Return the labels of the report, or a refusal: 503 if the store or the proof fails."""
        try:
            return await self._respond(request)
        except Fault as cause:
            log.warning("a report of %s was not carried out: %s", self._origin, cause)
            return _problem(HTTPStatus.SERVICE_UNAVAILABLE, "try again later")

    async def _respond(self, request: HttpRequest) -> HttpResponse:
        if request.method != "POST":
            return _problem(HTTPStatus.METHOD_NOT_ALLOWED, "use POST")
        if len(request.body) > MAX_BODY:
            problem = f"a report has at most {MAX_BODY} bytes"
            return _problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, problem)
        checks = self._small if len(request.body) <= SMALL_BODY else self._large
        if not checks.take(self._clock.monotonic()):
            return _problem(HTTPStatus.TOO_MANY_REQUESTS, "too many reports")
        report = await self._proof(request)
        if not report:
            return _problem(HTTPStatus.UNAUTHORIZED, "the report has no right signature")
        try:
            leaks = parsed(request.body)
        except ValueError as cause:  # the sender is proven, so no stranger can fill the log
            log.warning("a signed report of %s is refused: %s", self._origin, cause)
            return _problem(HTTPStatus.BAD_REQUEST, str(cause))
        if await self._reports.is_known(report):
            return _problem(HTTPStatus.CONFLICT, "this report was carried out already")
        found = await self._reports.carry_out(report, self._origin, leaks)
        return HttpResponse(HTTPStatus.OK, _HEADERS, labels(found))


def leak_routes(endpoints: Mapping[str, LeakEndpoint]) -> list[Route]:
    """Return the routes of endpoints, by their path. A report must arrive within SECONDS (10 s)."""
    return [
        Route(path, HttpApi(one.respond, MAX_BODY, seconds=SECONDS))
        for path, one in endpoints.items()
    ]


def _problem(status: HTTPStatus, detail: str) -> HttpResponse:
    text = json.dumps({"title": status.phrase, "status": int(status), "detail": detail})
    kind = {"content-type": "application/problem+json", "cache-control": "no-store"}
    return HttpResponse(status, kind, text.encode())
