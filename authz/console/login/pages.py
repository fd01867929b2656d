"""The pages that open a session: by the identity provider, by a key, or by a login link.

A refusal looks the same for every reason. The reason is in the log.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from math import ceil
from typing import Final, Protocol

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from authz.console.login.cookie_sessions import LOGIN, CookieSessions, next_path
from authz.console.login.cookies import Cookies
from authz.console.pages.forms import Form, FormError, read_form, text_of
from authz.console.pages.rendering import Renderer
from authz.console.pages.security_headers import HEADERS
from authz.core.access import Refusal, RefusalKind
from authz.core.console_session import ProvedSubject
from authz.core.errors import Unavailable
from authz.core.failure_budget import FailureBudgets
from authz.core.login_attempt import LoginAttempt, read_attempt
from authz.core.login_link import PATH
from authz.core.ports import Clock
from authz.core.sealed_text import SealedTexts
from authz.flows.console_sessions import ConsoleSessions, OpenSession

CALLBACK: Final = f"{LOGIN}/callback"
MAX_ATTEMPT: Final = 3000  # characters
MAX_PARAMETERS: Final = 20  # of the provider's response
USE_ATTEMPT: Final = "login attempt"

log = logging.getLogger("authz.console")


class IssuerLogin(Protocol):
    """Logs in at an identity provider."""

    async def address(self, attempt: LoginAttempt) -> str:
        """Return the address to send the browser to. Raises Unavailable."""
        ...

    async def complete(
        self, attempt: LoginAttempt, query: Mapping[str, str]
    ) -> ProvedSubject | Refusal:
        """Return the subject that the provider's response names, or the refusal."""
        ...


@dataclass(frozen=True, slots=True)
class LoginPages:
    """The login. issuer: None: keys log in instead.

    failures: by address. Above them a refusal is 429 and no line of the log. A right key, link or
    response logs in all the same: nobody can lock out the visitors behind one proxy.
    """

    sessions: ConsoleSessions
    visits: CookieSessions
    cookies: Cookies
    renderer: Renderer
    seals: SealedTexts
    clock: Clock
    issuer: IssuerLogin | None = None
    failures: FailureBudgets = field(default_factory=lambda: FailureBudgets(10, 6.0))

    def routes(self) -> list[Route]:
        """Return the routes of the login."""
        found = [
            Route(LOGIN, self._login),
            Route(PATH, self._link),
            Route(PATH, self._by_link, methods=["POST"]),
        ]
        if self.issuer is None:
            return [*found, Route(f"{LOGIN}/key", self._by_key, methods=["POST"])]
        return [*found, Route(f"{LOGIN}/oidc", self._begin), Route(CALLBACK, self._complete)]

    async def _login(self, request: Request) -> Response:
        if isinstance(await self.visits.resume(request), OpenSession):
            return _go_to(next_path(request.query_params.get("next", "/")))
        return self._page(request, next_path(request.query_params.get("next", "/")))

    async def _link(self, request: Request) -> Response:
        return self._page(request, "/", template="login_link.html")

    async def _by_key(self, request: Request) -> Response:
        form = await self._own_form(request)
        if isinstance(form, Response):
            return form
        opened = await self.sessions.open_by_key(text_of(form, "key"), _peer(request))
        return self._answer(request, opened, next_path(text_of(form, "next")))

    async def _by_link(self, request: Request) -> Response:
        form = await self._own_form(request)
        if isinstance(form, Response):
            return form
        opened = await self.sessions.open_by_link(text_of(form, "token"), _peer(request))
        return self._answer(request, opened, "/")

    async def _begin(self, request: Request) -> Response:
        assert self.issuer is not None  # noqa: S101  the route exists only then
        wanted = next_path(request.query_params.get("next", "/"))
        origin = self.visits.origin(request)
        if origin is None:
            return self.visits.misdirected()
        attempt = LoginAttempt.new(f"{origin}{CALLBACK}", wanted, self.clock.wall_ms())
        try:
            address = await self.issuer.address(attempt)
        except Unavailable as cause:
            log.warning("nobody can log in: %s", cause)
            return self._page(request, wanted, HTTPStatus.SERVICE_UNAVAILABLE, "issuer")
        response = RedirectResponse(address, HTTPStatus.SEE_OTHER, HEADERS)
        self.cookies.set(request, response, "login", self.seals.seal(attempt.text(), USE_ATTEMPT))
        return response

    async def _complete(self, request: Request) -> Response:
        assert self.issuer is not None  # noqa: S101  the route exists only then
        sealed = self.cookies.read(request, "login")
        text = self.seals.open(sealed, USE_ATTEMPT, most=MAX_ATTEMPT)
        attempt = read_attempt(text) if text is not None else None
        parameters = request.query_params.multi_items()
        query = dict(parameters)
        if (
            attempt is None
            or self.clock.wall_ms() >= attempt.ends_at
            or len(query) < len(parameters)
            or len(parameters) > MAX_PARAMETERS
        ):
            peer = _peer(request)
            log.info("login refused from %s: no such attempt", peer or "unix")
            return self._page(request, "/", HTTPStatus.UNAUTHORIZED, "attempt")
        who = await self.issuer.complete(attempt, query)
        opened = who if isinstance(who, Refusal) else self.sessions.open_by_claims(who)
        response = self._answer(request, opened, attempt.next)
        self.cookies.remove(request, response, "login")
        return response

    async def _own_form(self, request: Request) -> Form | Response:
        if not self.visits.is_own_form(request):
            return self.renderer.error(
                None,
                HTTPStatus.FORBIDDEN,
                "This form was refused",
                "It came from another site. Open the login page and log in there.",
                back=LOGIN,
            )
        try:
            return await read_form(request)
        except FormError as cause:
            return self.renderer.error(None, cause.status, cause.title, cause.advice, back=LOGIN)

    def _answer(self, request: Request, opened: OpenSession | Refusal, wanted: str) -> Response:
        """Return the answer to a login: the session's cookie and the way on, or the refusal."""
        address = _peer(request)
        if isinstance(opened, Refusal):
            if opened.kind is RefusalKind.UNAVAILABLE:
                log.info("login refused from %s: %s", address or "unix", opened.why)
                return self._page(request, wanted, HTTPStatus.SERVICE_UNAVAILABLE, "store")
            wait = self.failures.wait(address, self.clock.monotonic())
            if wait:
                return self._wait(request, wait)
            log.info("login refused from %s: %s", address or "unix", opened.why)
            self.failures.fail(address, self.clock.monotonic())
            return self._page(request, wanted, HTTPStatus.UNAUTHORIZED, "refused")
        log.info("login of %s from %s", opened.caller.actor, address or "unix")
        # No redirect: after the provider's, browsers would not send a SameSite=Strict cookie.
        response = self.renderer.page("login_done.html", None, next=wanted)
        self.cookies.set(request, response, "session", opened.sealed)
        return response

    def _wait(self, request: Request, seconds: float) -> Response:
        response = self._page(request, "/", HTTPStatus.TOO_MANY_REQUESTS, "wait")
        response.headers["retry-after"] = str(ceil(seconds))
        return response

    def _page(
        self,
        request: Request,
        wanted: str,
        status: int = HTTPStatus.OK,
        problem: str = "",
        template: str = "login.html",
    ) -> Response:
        if self.visits.origin(request) is None:
            return self.visits.misdirected()
        with_issuer = self.issuer is not None
        return self.renderer.page(
            template, None, status, next=wanted, problem=problem, with_issuer=with_issuer
        )


def _go_to(path: str) -> Response:
    return RedirectResponse(path, HTTPStatus.SEE_OTHER, HEADERS)


def _peer(request: Request) -> str:
    return request.client.host if request.client else ""
