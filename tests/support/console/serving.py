"""The pages of the console over a running admin API, for a visitor of one's choice."""

import asyncio
import http.client
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from authz.console.http_api import HttpApi
from authz.console.operations import OperationsServer
from authz.console.pages.app import console_routes
from authz.console.pages.rendering import Renderer
from authz.console.pages.session import Session
from authz.console.pages.static_files import StaticFiles
from authz.core.access import Binding, Caller, Kind
from authz.core.listen_address import Address
from authz.core.roles import Role
from authz.rpc.admin.rest.api import MAX_BODY, RestApi
from tests.support.rpc.admin import AdminRig

TOKEN = "the token of the forms"


def session_of(
    *roles: Role, tenants: Iterable[str] = (), projects: Iterable[str] = (), name: str = "ada"
) -> Session:
    """Return the session of a visitor with these roles."""
    bindings = tuple(Binding(role, frozenset(tenants), frozenset(projects)) for role in roles)
    return Session(Caller(name, Kind.OIDC, bindings), TOKEN, f"{name}@example.com", 2**53)


@dataclass
class OneSession:
    """Sessions: every visitor has the same one, or none. problem: why forms are refused."""

    session: Session | None = field(default_factory=lambda: session_of(Role.ADMIN))

    async def find(self, _request: Request) -> Session | Response:
        """Return the session, or 401."""
        return self.session or Response("no session", 401)

    def refuses(self, _request: Request, _session: Session, token: str) -> str:
        """Refuse a form without the token."""
        return "" if token == TOKEN else "the token is wrong"

    def keep(self, _request: Request, response: Response) -> None:
        """Mark the response."""
        response.headers["x-kept"] = "yes"


@dataclass(frozen=True)
class Site:
    """The served console. url: without a slash at its end."""

    url: str
    sessions: OneSession
    rig: AdminRig


@asynccontextmanager
async def console_site(rig: AdminRig) -> AsyncIterator[Site]:
    """Serve the console on a free port until the block ends. The visitor is an administrator."""
    rest, sessions = RestApi(rig.process.calls, "1.2.3"), OneSession()
    server = OperationsServer(
        Address("127.0.0.1", 0),
        "1.2.3",
        routes=console_routes(rest.respond, sessions, Renderer(StaticFiles(), "1.2.3")),
        otherwise=HttpApi(rest.respond, MAX_BODY),
    )
    await server.start()
    try:
        yield Site(f"http://{server.address}", sessions, rig)
    finally:
        await server.stop()


@dataclass(frozen=True)
class Page:
    """A response. text: the decoded body."""

    status: int
    headers: Mapping[str, str]
    text: str


async def get(site: Site, path: str, headers: Mapping[str, str] = {}) -> Page:
    """Return a page, without following a redirect."""
    return await asyncio.to_thread(_exchange, site, "GET", path, None, headers)


async def post(
    site: Site, path: str, fields: Mapping[str, object], headers: Mapping[str, str] = {}
) -> Page:
    """Send a form with the token. fields: a list is several values of one field."""
    body = urlencode({"csrf_token": TOKEN, **fields}, doseq=True).encode()
    return await asyncio.to_thread(_exchange, site, "POST", path, body, headers)


def _exchange(
    site: Site, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
) -> Page:
    connection = http.client.HTTPConnection(site.url.removeprefix("http://"), timeout=30)
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Page(response.status, found, response.read().decode())
    finally:
        connection.close()
