"""The page about the settings: read only, and without secrets."""

import asyncio

from starlette.responses import Response
from starlette.routing import Route

from authz.console.pages.api_client import Call
from authz.console.pages.commands import does
from authz.console.pages.visit import Console, Handler, SettingsText, Visit
from authz.core.access import visible
from authz.core.roles import Action


def routes(console: Console) -> list[Route]:
    """Return the route of the page. Only who may manage the whole installation sees settings."""
    return [Route("/settings", console.endpoint(_page(console.settings)))]


def _page(settings: SettingsText) -> Handler:
    call = Call("GET", "/v1/installation")

    async def page(visit: Visit) -> Response:
        installation, caller = await asyncio.gather(
            visit.api.call(call), visit.api.get("/v1/whoami")
        )
        if not caller.is_ok:
            return visit.failure(caller)
        may_see = not visible(visit.session.caller, Action.MANAGE_POLICY).is_empty
        return visit.page(
            "settings.html",
            installation=installation,
            caller=caller.data,
            settings=settings() if may_see else None,
            does=does(["config", "check"], call),
        )

    return page
