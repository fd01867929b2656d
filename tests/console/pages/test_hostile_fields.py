"""Hostile texts in every text that the API sends, of fields of today and of fields to come."""

import itertools
import json
import re
from dataclasses import replace
from html import unescape
from typing import Any, Final

from authz.console.operations import OperationsServer
from authz.console.pages.app import console_routes
from authz.console.pages.rendering import Renderer
from authz.console.pages.static_files import StaticFiles
from authz.core.http_exchange import HttpHandler, HttpRequest, HttpResponse
from authz.core.listen_address import Address
from authz.rpc.admin.rest.api import RestApi
from tests.console.pages.test_hostile_texts import SEEDS, Elements
from tests.console.pages.test_matrix import PAGES
from tests.support.console.content import fill, sidecars
from tests.support.console.serving import OneSession, Site, get
from tests.support.console.usage import use

# Texts that are no text of a person: names of resources, words of an enum, times, numbers.
KEPT: Final = re.compile(
    r"(?:keys|eventSinks|signingKeys)/[^/]+(?:/\w+)?|[A-Z][A-Z0-9_]*|-?\d+(?:\.\d+)?s?"
    r"|\d{4}-\d\d-\d\dT[\d:.]+Z|"
)
MAPS: Final = frozenset({"metadata", "detail", "data", "details", "deniedByReason"})
MARK: Final = "~hostile~"


class Poison:
    """Replaces the texts of every answer. put: how many. fields: the members that had them."""

    def __init__(self, handler: HttpHandler) -> None:
        self._handler = handler
        self._seeds = itertools.cycle(SEEDS)
        self.put, self.fields = 0, set[str]()

    async def respond(self, request: HttpRequest) -> HttpResponse:
        """Return the answer to a request, with other texts."""
        found = await self._handler(request)
        if found.status != 200 or not isinstance(found.body, bytes):
            return found
        return replace(found, body=json.dumps(self._of(json.loads(found.body), "")).encode())

    def _of(self, value: Any, name: str) -> Any:
        if isinstance(value, dict):
            names = {one: self._text() if name in MAPS else one for one in value}
            return {names[one]: self._of(inner, one) for one, inner in value.items()}
        if isinstance(value, list):
            return [self._of(one, name) for one in value]
        if not isinstance(value, str) or KEPT.fullmatch(value) or name == "nextPageToken":
            return value
        self.fields.add(name)
        return self._text()

    def _text(self) -> str:
        self.put += 1
        return f"{next(self._seeds)}{MARK}{self.put}"


async def test_no_text_of_the_api_becomes_a_part_of_a_page(site: Site) -> None:
    """On each page every text is text: it makes no element, no attribute and no link elsewhere."""
    kids = await fill(site.rig, requests=200)
    terms = "1,1,0,0,0;v1,1000000,2000000,500000,1000000,2000000,0"
    asked = {"version": "4", "settle": terms, "tokens": "complete:300:400:0:0:0"}
    await use(site.rig, kids[0], 0, model="m-large", **asked)
    poison = Poison(RestApi(site.rig.process.calls, "1").respond)
    sessions = OneSession()
    server = OperationsServer(
        Address("127.0.0.1", 0),
        "1",
        routes=console_routes(poison.respond, sessions, Renderer(StaticFiles(), "1")),
    )
    await server.start()
    poisoned = Site(f"http://{server.address}", sessions, site.rig)
    seen = 0
    try:
        async with sidecars(site.rig, 2):
            for page in PAGES:
                path = page.replace("KID", kids[0]).replace("DISABLED", kids[1])
                found = await get(poisoned, path.replace("REVOKED", kids[2]))
                assert found.status in {200, 404, 400}, (path, found.text[-300:])
                assert Elements(found.text).found == [], path
                assert f"<{MARK}" not in found.text
                seen += unescape(found.text).count(MARK)
    finally:
        await server.stop()
    assert seen > 500
    wanted = {"displayName", "clientId", "tenantId", "projectId", "plan", "actor", "note", "route"}
    assert wanted | {"network", "userAgent", "instance", "limitName", "model"} <= poison.fields
