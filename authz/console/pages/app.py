"""The routes of the console."""

from starlette.routing import BaseRoute

from authz.console.pages import (
    anomalies,
    audit_trail,
    bulk,
    changing,
    editing,
    events,
    explaining,
    fleet,
    incident,
    installation,
    issuing,
    key_list,
    one_key,
    overview,
    owners,
    usage_report,
)
from authz.console.pages.rendering import Renderer
from authz.console.pages.session import Sessions
from authz.console.pages.visit import Console, SettingsText
from authz.core.http_exchange import HttpHandler


def console_routes(
    handler: HttpHandler,
    sessions: Sessions,
    renderer: Renderer,
    *,
    gateway: str = "",
    settings: SettingsText = tuple,
) -> list[BaseRoute]:
    """Return the routes of all pages and static files. The arguments are those of Console."""
    console = Console(handler, sessions, renderer, gateway=gateway, settings=settings)
    pages = (
        *(overview, bulk, issuing, key_list, one_key, changing, editing, explaining, incident),
        *(owners, usage_report, audit_trail, events, fleet, installation, anomalies),
    )
    return [renderer.static.route(), *(route for page in pages for route in page.routes(console))]
