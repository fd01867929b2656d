"""Logout: ends this session, or every session of the visitor."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from authz.console.login.cookie_sessions import LOGIN, CookieSessions
from authz.console.login.cookies import Cookies
from authz.console.pages.visit import Console, Visit
from authz.core.access import RefusalKind
from authz.core.errors import Unavailable
from authz.flows.console_sessions import ConsoleSessions, OpenSession


def logout_route(
    console: Console, sessions: ConsoleSessions, visits: CookieSessions, cookies: Cookies
) -> Route:
    """Return the route of the logout. The field `everywhere` ends all sessions of the visitor.

    Without the store the cookie is removed, too. Then the token of the form cannot be checked, so
    the form only has to come from this site.
    """

    async def logout(visit: Visit) -> Response:
        found = await visits.resume(visit.request)
        visit.request.state.sealed_session = ""
        if isinstance(found, OpenSession):
            try:
                await sessions.end(found.session, everywhere=bool(visit.text("everywhere")))
            except Unavailable:
                return Response(status_code=HTTPStatus.SERVICE_UNAVAILABLE)
        elif found.kind is RefusalKind.UNAVAILABLE:
            return Response(status_code=HTTPStatus.SERVICE_UNAVAILABLE)
        response = visit.redirect(LOGIN)
        cookies.remove(visit.request, response, "session")
        return response

    in_session = console.endpoint(logout)

    async def respond(request: Request) -> Response:
        response = await in_session(request)
        is_unknown = response.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        if not is_unknown or not visits.is_own_form(request):
            return response
        page = console.renderer.error(
            None,
            HTTPStatus.SERVICE_UNAVAILABLE,
            "This browser is logged out",
            "The store does not answer. A copy of the session may work until it times out.",
            back=LOGIN,
        )
        cookies.remove(request, page, "session")
        return page

    return Route("/logout", respond, methods=["POST"])
