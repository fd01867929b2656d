"""Composition root of the console: its sessions, its login and its pages."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from authz import __version__
from authz.console.login.site import LoginParts, Routes, site_routes
from authz.core.console_session import SessionTimes
from authz.core.http_exchange import HttpHandler
from authz.core.keys.keyring import Keyring
from authz.core.ports import Clock
from authz.core.sealed_text import SealedTexts
from authz.flows.authentication import KeyIdentifier
from authz.flows.console_sessions import ConsoleSessions
from authz.settings.model import Settings
from authz.settings.shown import shown_settings
from authz.storage.endpoint import Client
from authz.storage.requests import StoredRequests
from authz.storage.session_ends import StoredSessionEnds
from authz.wiring.access import issuer_login


@asynccontextmanager
async def console(
    settings: Settings,
    rest: HttpHandler,
    client: Client,
    *,
    keys: KeyIdentifier,
    ring: Keyring,
    clock: Clock,
) -> AsyncIterator[Routes]:
    """Yield the routes of the console; none if `admin.console.enabled` is false.

    Raises BadInput for unusable settings.
    """
    if not settings.admin.console.enabled:
        yield []
        return
    seals = SealedTexts(ring.session_keys)
    oidc = settings.admin.oidc
    sessions = ConsoleSessions(
        seals,
        keys,
        granted=oidc.granted() if oidc else {},
        ends=StoredSessionEnds(client),
        links=StoredRequests(client),
        clock=clock,
        times=_times(settings),
    )
    async with issuer_login(settings, clock) as issuer:
        shown = settings.admin.console
        parts = LoginParts(
            sessions,
            seals,
            clock,
            issuer,
            shown.url or "",
            shown.gateway or "",
            lambda: tuple(shown_settings(settings)),
        )
        yield site_routes(rest, parts, __version__)


def _times(settings: Settings) -> SessionTimes:
    console = settings.admin.console
    claims = console.login.session if console.login else console.session
    whole = round(console.session * 1000)
    return SessionTimes(round(console.idle * 1000), whole, min(whole, round(claims * 1000)))
