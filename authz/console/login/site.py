"""The routes of the whole console: pages, static files, login and logout."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.routing import BaseRoute

from authz.console.login.cookie_sessions import CookieSessions
from authz.console.login.cookies import Cookies
from authz.console.login.logout import logout_route
from authz.console.login.pages import IssuerLogin, LoginPages
from authz.console.login.site_address import SiteAddress
from authz.console.pages.app import console_routes
from authz.console.pages.rendering import Renderer
from authz.console.pages.static_files import StaticFiles
from authz.console.pages.visit import Console, SettingsText
from authz.core.http_exchange import HttpHandler
from authz.core.ports import Clock
from authz.core.sealed_text import SealedTexts
from authz.flows.console_sessions import ConsoleSessions

Routes = Sequence[BaseRoute]


@dataclass(frozen=True, slots=True)
class LoginParts:
    """The parts behind the login.

    url: `admin.console.url`; empty: http on loopback. gateway: for examples; may be empty.
    settings: of this process, for people.
    """

    sessions: ConsoleSessions
    seals: SealedTexts
    clock: Clock
    issuer: IssuerLogin | None
    url: str = ""
    gateway: str = ""
    settings: SettingsText = tuple


def site_routes(rest: HttpHandler, parts: LoginParts, version: str) -> Routes:
    """Return all routes of the console. rest: the REST API."""
    site, renderer = SiteAddress(parts.url), Renderer(StaticFiles(), version)
    cookies = Cookies(site)
    visits = CookieSessions(parts.sessions, site, cookies, renderer)
    login = LoginPages(
        parts.sessions, visits, cookies, renderer, parts.seals, parts.clock, parts.issuer
    )
    console = Console(rest, visits, renderer)
    return [
        *console_routes(rest, visits, renderer, gateway=parts.gateway, settings=parts.settings),
        *login.routes(),
        logout_route(console, parts.sessions, visits, cookies),
    ]
