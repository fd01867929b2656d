"""The list of keys: search, filters and order in the URL, pages, and CSV."""

import asyncio
import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from authz.console.pages.api_client import Answer, Call
from authz.console.pages.bulk import ACTIONS
from authz.console.pages.commands import does
from authz.console.pages.key_filter import (
    ENVIRONMENTS,
    KINDS,
    NEWEST,
    OLDEST,
    STATES,
    KeyFilter,
)
from authz.console.pages.security_headers import HEADERS
from authz.console.pages.spreadsheets import keys_as_csv
from authz.console.pages.visit import Console, Visit
from authz.core.keys.pasted import named_kid

PAGE_SIZE: Final = 50
FIRST_SECONDS: Final = 0.015  # for a search or a sort; a longer one follows when the page is there
_KID: Final = re.compile(r"[0-9A-Za-z]{16}", re.ASCII)
_ANY_PREFIX: Final = "[a-z][a-z0-9]{1,11}"


_VALUES: Final[dict[str, Any]] = {
    "states": STATES,
    "kinds": KINDS,
    "environments": ENVIRONMENTS,
    "bulk_actions": ACTIONS,
}


_STOPPING: Final[set["asyncio.Task[None]"]] = set()  # a loop holds its tasks weakly


def routes(console: Console) -> list[Route]:
    """Return the routes of the list."""
    return [
        Route("/keys", console.endpoint(_list), name="keys"),
        Route("/keys.csv", console.endpoint(_csv)),
    ]


@dataclass(frozen=True, slots=True)
class _Rows:
    """A page of the list. call: that returned it. problem: about it, for the visitor."""

    answer: Answer
    call: Call
    problem: str = ""

    def get(self, name: str) -> Any:
        """Return a list or text of the answer; empty if it is an error."""
        return self.answer.data.get(name, ()) if self.answer.is_ok else ()


async def _list(visit: Visit) -> Response:
    chosen = KeyFilter.of(visit.request.query_params.items())
    named = named_kid(chosen.get("q"), _ANY_PREFIX)
    if named:  # somebody searched for the text of a key: take it out of the URL
        return visit.redirect(f"/keys?q={named}")
    token, is_patient = visit.query("page"), visit.is_fragment or bool(visit.query("wait"))
    work = asyncio.create_task(_rows(visit, chosen, token))
    # These lists have an index: they look at no more keys than they show.
    is_indexed = dict(chosen.conditions).keys() <= {"client"} and chosen.order in (NEWEST, OLDEST)
    if not (is_indexed or is_patient or await _is_done(work)):
        return visit.page("keys.html", **_VALUES, chosen=chosen, token=token, is_searching=True)
    rows = await work
    if not rows.answer.is_ok and not rows.answer.fields:
        return visit.failure(rows.answer, "/keys")
    following = rows.get("nextPageToken") or ""
    if following:
        following = urlencode([*chosen.values, ("page", following)])
    return visit.page(
        "key_rows.html" if visit.is_fragment else "keys.html",
        keys=rows.get("keys"),
        unreadable=rows.get("unreadable"),
        **_VALUES,
        is_searching=False,
        chosen=chosen,
        refused=rows.answer.fields.get("filter", ""),
        problem=rows.problem,
        following=following,
        is_first=not token,
        does=does(["keys", "list", *chosen.options()], rows.call),
    )


async def _is_done(work: "asyncio.Task[_Rows]") -> bool:
    """Return whether a search ends within FIRST_SECONDS (0.015 s). If not, it is cancelled."""
    done, _ = await asyncio.wait({work}, timeout=FIRST_SECONDS)
    if not done:
        stopping = asyncio.create_task(_stop(work))
        _STOPPING.add(stopping)
        stopping.add_done_callback(_STOPPING.discard)
    return bool(done)


async def _stop(work: "asyncio.Task[_Rows]") -> None:
    """Cancel a search until it ends: redis-py swallows a cancellation within a pipeline."""
    while not work.done():
        work.cancel()
        await asyncio.wait({work}, timeout=FIRST_SECONDS)


async def _rows(visit: Visit, chosen: KeyFilter, token: str) -> _Rows:
    """Return a page: of the one key that was searched for by its kid, else of the list."""
    if _KID.fullmatch(chosen.get("q")):
        call = Call("GET", f"/v1/keys/{chosen.get('q')}")
        answer = await visit.api.call(call)
        if answer.is_ok:
            return _Rows(Answer(answer.status, {"keys": [answer.data["key"]]}), call)
    call = _call(chosen, chosen.order.order_by, token)
    answer = await visit.api.call(call)
    if answer.reason != "TOO_MANY_KEYS":
        return _Rows(answer, call)
    call = _call(chosen, NEWEST.order_by, token)
    problem = f"The newest keys are shown: {answer.detail}."
    return _Rows(await visit.api.call(call), call, problem)


def _call(chosen: KeyFilter, order_by: str, token: str) -> Call:
    query = [
        ("pageSize", str(PAGE_SIZE)),
        ("filter", chosen.text),
        ("orderBy", order_by),
        ("pageToken", token),
    ]
    return Call("GET", "/v1/keys", tuple((name, value) for name, value in query if value))


async def _csv(visit: Visit) -> Response:
    chosen = KeyFilter.of(visit.request.query_params.items())
    query = (("filter", chosen.text),) if chosen.text else ()
    messages = await visit.api.lines(Call("GET", "/v1/keys:export", query))
    if isinstance(messages, Answer):
        return visit.failure(messages, "/keys")
    headers = {**HEADERS, "content-disposition": 'attachment; filename="keys.csv"'}
    return StreamingResponse(keys_as_csv(messages), 200, headers, "text/csv; charset=utf-8")
