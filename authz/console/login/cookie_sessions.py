"""CookieSessions: the sessions of the console's pages, in sealed cookies."""

import hmac
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from authz.console.login.cookies import Cookies
from authz.console.login.site_address import SiteAddress
from authz.console.pages.rendering import Renderer
from authz.console.pages.security_headers import HEADERS
from authz.console.pages.session import Session
from authz.core.access import Refusal, RefusalKind
from authz.flows.console_sessions import ConsoleSessions, OpenSession

LOGIN: Final = "/login"


class CookieSessions:
    """The Sessions of the pages. It fails closed."""

    def __init__(
        self, sessions: ConsoleSessions, site: SiteAddress, cookies: Cookies, renderer: Renderer
    ) -> None:
        self._sessions = sessions
        self._site = site
        self._cookies = cookies
        self._renderer = renderer

    async def find(self, request: Request) -> Session | Response:
        """Return the session, or a response: 421 for another host, a redirect to the login, or 503.

        503 if the store cannot tell whether the session is good. The cookie stays then.
        """
        if self.origin(request) is None:
            return self.misdirected()
        found = await self.resume(request)
        if isinstance(found, Refusal):
            if found.kind is RefusalKind.UNAVAILABLE:
                return self._renderer.error(
                    None,
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    "The store does not answer",
                    "Your session cannot be checked now. Try again in a few seconds.",
                )
            return _to_login(request)
        session = found.session
        request.state.sealed_session = found.sealed
        return Session(found.caller, session.form_token, session.label, session.ends_at)

    async def resume(self, request: Request) -> OpenSession | Refusal:
        """Return the open session of a request, or the refusal."""
        peer = request.client.host if request.client else ""
        return await self._sessions.resume(self._cookies.read(request, "session"), peer)

    def refuses(self, request: Request, session: Session, token: str) -> str:
        """Return the reason why a form is not one of this session on this site, or empty text."""
        if not self.is_own_form(request):
            return "It came from another site. Open the page again and send the form from there."
        if not hmac.compare_digest(session.csrf_token.encode(), token.encode()):
            return "It belongs to another session. Open the page again and send the form once more."
        return ""

    def keep(self, request: Request, response: Response) -> None:
        """Set a new cookie if `find` has renewed the session."""
        sealed = getattr(request.state, "sealed_session", "")
        if sealed:
            self._cookies.set(request, response, "session", sealed)

    def is_own_form(self, request: Request) -> bool:
        """Return whether a POST comes from a page of this site."""
        headers = request.headers
        return self._site.is_own_form(
            headers.get("host", ""), headers.get("origin", ""), headers.get("sec-fetch-site", "")
        )

    def origin(self, request: Request) -> str | None:
        """Return the origin that a request is for; None if its Host is not one of this site."""
        return self._site.origin(request.headers.get("host", ""))

    def misdirected(self) -> Response:
        """Return the page for a request to another host name (RFC 9110 section 15.5.20)."""
        return self._renderer.error(
            None,
            HTTPStatus.MISDIRECTED_REQUEST,
            "The console does not have this name",
            "Open it by a loopback address, or set admin.console.url to this address.",
        )


def next_path(given: str) -> str:
    """Return a path of this site to go to after the login: `given`, or `/` if it is none."""
    is_local = given.startswith("/") and not given.startswith(("//", "/\\", LOGIN))
    is_plain = given.isascii() and given.isprintable() and "\\" not in given
    return given if is_local and is_plain else "/"


def _to_login(request: Request) -> Response:
    """Return a redirect to the login page. htmx and event streams follow none: they get 401."""
    path = request.url.path
    if request.url.query:
        path += f"?{request.url.query}"
    wanted = next_path(path) if request.method == "GET" else "/"
    address = f"{LOGIN}?{urlencode({'next': wanted})}" if wanted != "/" else LOGIN
    if "hx-request" in request.headers:
        return Response("", HTTPStatus.UNAUTHORIZED, {**HEADERS, "hx-redirect": LOGIN})
    if "text/event-stream" in request.headers.get("accept", ""):
        return Response("", HTTPStatus.UNAUTHORIZED, HEADERS)
    return RedirectResponse(address, HTTPStatus.SEE_OTHER, HEADERS)
