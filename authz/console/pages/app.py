"""The routes of the console."""

from starlette.routing import BaseRoute

from authz.console.pages import (
    bulk,
    changing,
    editing,
    explaining,
    incident,
    issuing,
    key_list,
    live,
    one_key,
    overview,
)
from authz.console.pages.rendering import Renderer
from authz.console.pages.session import Sessions
from authz.console.pages.visit import Console
from authz.core.http_exchange import HttpHandler


def console_routes(
    handler: HttpHandler, sessions: Sessions, renderer: Renderer, *, gateway: str = ""
) -> list[BaseRoute]:
    """Return the routes of all pages and static files.

    handler: the REST API. gateway: the URL of the gateway, for examples; may be empty.
    """
    console = Console(handler, sessions, renderer, gateway=gateway)
    pages = (
        overview,
        bulk,
        issuing,
        key_list,
        one_key,
        changing,
        editing,
        explaining,
        incident,
        live,
    )
    return [renderer.static.route(), *(route for page in pages for route in page.routes(console))]
