"""Pages about events: the latest ones, the sinks that get them, and those that a sink missed."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

from starlette.responses import Response
from starlette.routing import Route

from authz.console.pages.api_client import Answer, Call
from authz.console.pages.commands import does
from authz.console.pages.visit import Console, Visit

PAGE_SIZE: Final = 50
SINKS: Final = "/v1/eventSinks"
_CONDITIONS: Final = {"type": ("eventType", "--type"), "key": ("key", "--kid")}
_MAX: Final = 200  # characters of a condition


def routes(console: Console) -> list[Route]:
    """Return the routes of the pages."""
    return [
        Route("/events", console.endpoint(_list)),
        Route(
            "/events/sinks/{sink}",
            console.endpoint(_sink, "read_sinks"),
            methods=["GET", "POST"],
        ),
    ]


async def _list(visit: Visit) -> Response:
    given = {name: visit.query(name)[:_MAX] for name in _CONDITIONS}
    given = {name: value for name, value in given.items() if value}
    fields = {_CONDITIONS[name][0]: value for name, value in given.items()}
    if "key" in fields:
        fields["key"] = f"keys/{fields['key']}"
    call = _call("/v1/events", fields, visit.query("page"))
    answer = await visit.api.call(call)
    if not answer.is_ok and not answer.fields:
        return visit.failure(answer)
    sinks = await visit.api.get(SINKS) if visit.may_on_some("read_sinks") else None
    words = [word for name, value in given.items() for word in (_CONDITIONS[name][1], value)]
    return visit.page(
        "events.html",
        given=given,
        answer=answer,
        sinks=sinks,
        following=_following(answer, given),
        query=urlencode(given),
        is_first=not visit.query("page"),
        does=does(["events", "list", *words], call),
    )


async def _sink(visit: Visit) -> Response:
    name = visit.request.path_params["sink"]
    path = f"{SINKS}/{quote(name, safe='')}"
    replayed: Mapping[str, Any] | None = None
    if visit.is_form:
        call, words = Call("POST", f"{path}:replay", body={"allDead": True}), ["replay", "--all"]
        answer = await visit.api.call(call)
        if not answer.is_ok:
            return visit.failure(answer, "/events")
        replayed = answer.data
    else:
        call, words = _call(f"{path}/deadEvents", {}, visit.query("page")), ["dead"]
    dead = await visit.api.call(_call(f"{path}/deadEvents", {}, visit.query("page")))
    if not dead.is_ok:
        return visit.failure(dead, "/events")
    return visit.page(
        "event_sink.html",
        sink=name,
        dead=dead.data.get("deadEvents", ()),
        replayed=replayed,
        following=_following(dead, {}),
        does=does(["events", *words, "--sink", name], call),
    )


def _call(path: str, fields: Mapping[str, str], token: str) -> Call:
    pairs = {"pageSize": str(PAGE_SIZE), **fields, "pageToken": token}
    return Call("GET", path, tuple((name, value) for name, value in pairs.items() if value))


def _following(answer: Answer, given: Mapping[str, str]) -> str:
    """Return the parameters of the next page, encoded. Empty on the last one."""
    token = answer.data.get("nextPageToken", "") if answer.is_ok else ""
    return urlencode({**given, "page": token}) if token else ""
