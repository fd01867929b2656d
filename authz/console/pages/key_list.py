"""The list of keys: search, filters in the URL, and pages."""

from typing import Final
from urllib.parse import urlencode

from starlette.responses import Response
from starlette.routing import Route

from authz.console.pages.api_client import Call
from authz.console.pages.commands import does
from authz.console.pages.key_filter import ENVIRONMENTS, STATES, KeyFilter
from authz.console.pages.visit import Console, Visit

PAGE_SIZE: Final = 50


def routes(console: Console) -> list[Route]:
    """Return the routes of the list."""
    return [Route("/keys", console.endpoint(_list), name="keys")]


async def _list(visit: Visit) -> Response:
    chosen = KeyFilter.of(visit.request.query_params.items())
    query = [("pageSize", str(PAGE_SIZE))]
    if chosen.text:
        query.append(("filter", chosen.text))
    token = visit.query("page")
    if token:
        query.append(("pageToken", token))
    call = Call("GET", "/v1/keys", tuple(query))
    answer = await visit.api.call(call)
    refused = answer.fields.get("filter", "")
    if not answer.is_ok and not refused:
        return visit.failure(answer, "/keys")
    following = answer.data.get("nextPageToken", "") if answer.is_ok else ""
    following = urlencode([*chosen.values, ("page", following)]) if following else ""
    return visit.page(
        "key_rows.html" if visit.is_fragment else "keys.html",
        keys=answer.data.get("keys", ()),
        unreadable=answer.data.get("unreadable", ()),
        chosen=chosen,
        refused=refused,
        following=following,
        is_first=not token,
        states=STATES,
        environments=ENVIRONMENTS,
        does=does(["keys", "list", *chosen.options()], call),
    )
