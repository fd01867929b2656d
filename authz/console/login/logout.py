"""Logout: ends this session, or every session of the visitor."""

from http import HTTPStatus

from starlette.responses import Response
from starlette.routing import Route

from authz.console.login.cookie_sessions import LOGIN, CookieSessions
from authz.console.login.cookies import Cookies
from authz.console.pages.visit import Console, Visit
from authz.core.access import Refusal
from authz.core.errors import Unavailable
from authz.flows.console_sessions import ConsoleSessions


def logout_route(
    console: Console, sessions: ConsoleSessions, visits: CookieSessions, cookies: Cookies
) -> Route:
    """Return the route of the logout. The field `everywhere` ends all sessions of the visitor."""

    async def logout(visit: Visit) -> Response:
        found = await visits.resume(visit.request)
        visit.request.state.sealed_session = ""
        response: Response = visit.redirect(LOGIN)
        if not isinstance(found, Refusal):
            try:
                await sessions.end(found.session, everywhere=bool(visit.text("everywhere")))
            except Unavailable:
                response = visit.renderer.error(
                    None,
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    "This browser is logged out",
                    "The store does not answer. A copy of the session may work until it times out.",
                    back=LOGIN,
                )
        cookies.remove(visit.request, response, "session")
        return response

    return Route("/logout", console.endpoint(logout), methods=["POST"])
