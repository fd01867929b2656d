"""The routes of the console."""

from starlette.routing import BaseRoute

from authz.console.pages import key_list
from authz.console.pages.rendering import Renderer
from authz.console.pages.session import Sessions
from authz.console.pages.visit import Console
from authz.core.http_exchange import HttpHandler


def console_routes(handler: HttpHandler, sessions: Sessions, renderer: Renderer) -> list[BaseRoute]:
    """Return the routes of all pages and static files. handler: the REST API."""
    console = Console(handler, sessions, renderer)
    return [renderer.static.route(), *key_list.routes(console)]
