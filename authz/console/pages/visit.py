"""Visit: one request for a page, with its session, its form and the API in the visitor's name."""

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from authz.console.pages.api_client import AdminApi, Answer, Origin
from authz.console.pages.forms import Form, FormError, read_form, text_of
from authz.console.pages.rendering import Renderer
from authz.console.pages.security_headers import HEADERS
from authz.console.pages.session import Session, Sessions
from authz.core.access import may, visible
from authz.core.http_exchange import HttpHandler
from authz.core.roles import Action

log = logging.getLogger("authz.console")

TOKEN: Final = "csrf_token"  # noqa: S105  the name of a field


@dataclass(slots=True, weakref_slot=True)
class Visit:
    """One request. form: the fields of a POST, each with its values in order.

    gateway: the URL of the gateway, for examples; may be empty.
    """

    request: Request
    session: Session
    api: AdminApi
    renderer: Renderer
    gateway: str = ""
    form: Form = field(default_factory=dict, repr=False)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def kid(self) -> str:
        """The kid in the path, escaped as a part of a path. Empty without one."""
        return quote(self.request.path_params.get("kid", ""), safe="")

    def may(
        self, action: str, tenant: str = "", project: str = "", scopes: Collection[str] = ()
    ) -> bool:
        """Return whether the visitor may take an action on a key with these fields."""
        return may(self.session.caller, Action(action), tenant, project, scopes=scopes)

    def may_on_some(self, action: str) -> bool:
        """Return whether the visitor may take an action on some keys at least."""
        return not visible(self.session.caller, Action(action)).is_empty

    def query(self, name: str) -> str:
        """Return a parameter of the URL, without blanks around it. Empty without one."""
        return self.request.query_params.get(name, "").strip()

    def text(self, name: str) -> str:
        """Return a field of the form, without blanks around it. Empty without one."""
        return text_of(self.form, name)

    @property
    def is_form(self) -> bool:
        """True for a POST, whose token was checked. No other request may change anything."""
        return self.request.method == "POST"

    @property
    def route(self) -> str:
        """The path of the page as the console defines it, such as `/keys/{kid}`."""
        route: Route = self.request.scope["route"]
        return route.path

    @property
    def is_fragment(self) -> bool:
        """True if htmx asks for a part of a page."""
        return "hx-request" in self.request.headers

    def page(self, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """Return a page for this visitor."""
        return self.renderer.page(template, self, status, **values)

    def failure(self, answer: Answer, back: str = "/") -> HTMLResponse:
        """Return the page about an answer of the API that is an error."""
        title, text = _ERRORS.get(answer.status, _FAULT)
        return self.renderer.error(
            self,
            answer.status,
            title,
            answer.detail or text,
            reason=answer.reason,
            back=back,
        )

    def redirect(self, path: str) -> RedirectResponse:
        """Return a redirect after a form, so that a reload does not send the form again."""
        return RedirectResponse(path, HTTPStatus.SEE_OTHER, HEADERS)


_FAULT: Final = ("The server has a fault", "Its log has more about it.")
_ERRORS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("This request was refused", ""),
    403: ("You may not do this", ""),
    404: ("Not found", "It does not exist, or you may not see it."),
    409: ("Somebody else was faster", ""),
    429: ("Too many requests", "Wait a second, then try again."),
    503: ("The store does not answer", "Nothing was changed. Try again in a few seconds."),
}

Handler = Callable[[Visit], Awaitable[Response]]
SettingsText = Callable[[], Sequence[tuple[str, str]]]
"""Returns the names and values of the settings, without secrets."""


class Console:
    """The parts that all pages share.

    handler: the REST API. gateway: as of Visit. settings: of this process, for people.
    """

    def __init__(
        self,
        handler: HttpHandler,
        sessions: Sessions,
        renderer: Renderer,
        *,
        gateway: str = "",
        settings: SettingsText = tuple,
    ) -> None:
        self.renderer = renderer
        self.settings = settings
        self._gateway = gateway
        self._handler = handler
        self._sessions = sessions

    def endpoint(
        self, handler: Handler, needs: str = ""
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return an endpoint that calls `handler` for visitors with a session.

        needs: the action that the page is for. A visitor who may take it on no key at all sees no
        form that would fail, but 403. A POST has to come from a form of the same session, else it
        is refused with 403.
        """

        async def respond(request: Request) -> Response:
            visit = await self.visit(request)
            if isinstance(visit, Response):
                return visit
            if needs and not visit.may_on_some(needs):
                text = f"Your roles do not allow the action {needs.replace('_', ' ')}."
                return self.renderer.error(visit, 403, "You may not do this", text)
            if visit.is_form:
                refusal = await self._read_form(visit)
                if refusal is not None:
                    return refusal
            response = await self._handled(visit, handler)
            self._sessions.keep(request, response)
            return response

        return respond

    async def visit(self, request: Request) -> Visit | Response:
        """Return the visit of a request, without its form; or the response without a session."""
        session = await self._sessions.find(request)
        if isinstance(session, Response):
            return session
        api = self._api(request, session)
        return Visit(request, session, api, self.renderer, self._gateway)

    async def _handled(self, visit: Visit, handler: Handler) -> Response:
        """Return the response of a handler. A fault becomes a page, and a line in the log."""
        try:
            return await handler(visit)
        except Exception:
            log.exception("a page failed: %s", visit.route)
            return self.renderer.error(visit, 500, *_FAULT)

    def _api(self, request: Request, session: Session) -> AdminApi:
        peer = request.client.host if request.client else ""
        origin = Origin(peer, request.headers.get("user-agent", ""))
        return AdminApi(self._handler, session.caller, origin)

    async def _read_form(self, visit: Visit) -> Response | None:
        """Read the form into `visit`. Return a refusal if it is too large or not ours."""
        try:
            visit.form = await read_form(visit.request)
        except FormError as cause:
            return self.renderer.error(visit, cause.status, cause.title, cause.advice)
        sent = visit.request.headers.get("x-csrf-token", "") or visit.text(TOKEN)
        reason = self._sessions.refuses(visit.request, visit.session, sent)
        if reason:
            return self.renderer.error(visit, 403, "This form was refused", reason)
        return None
