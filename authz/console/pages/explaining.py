"""Explain a request: the decision of a sidecar, check by check."""

import asyncio
import re

from starlette.responses import Response
from starlette.routing import Route

from authz.console.pages.api_client import Call
from authz.console.pages.commands import does
from authz.console.pages.formats import moment
from authz.console.pages.visit import Console, Visit
from authz.core.decision import Reason

# The parameter of the page, and the field of the API.
_FIELDS = {
    "method": "method",
    "host": "host",
    "path": "path",
    "address": "clientAddress",
    "origin": "origin",
}
_LABEL = re.compile(r"[!-~]{1,128}", re.ASCII)  # of a route, as in usage records
_OPTIONS = {"method": "--method", "host": "--host", "path": "--path", "address": "--ip"}


def routes(console: Console) -> list[Route]:
    """Return the route of the page."""
    return [Route("/keys/{kid}/explain", console.endpoint(_explain))]


async def _explain(visit: Visit) -> Response:
    asked = {name: visit.query(name) for name in (*_FIELDS, "scopes")}
    body: dict[str, object] = {"name": f"keys/{visit.kid}"}
    body |= {path: asked[name] for name, path in _FIELDS.items() if asked[name]}
    scopes = asked["scopes"].split()
    if scopes:
        body["requiredScopes"] = scopes
    call = Call("POST", "/v1/keys:verify", (), body)
    answer, use = await asyncio.gather(
        visit.api.call(call), visit.api.get(f"/v1/keys/{visit.kid}/latestUse")
    )
    if not answer.is_ok and not answer.fields:
        return visit.failure(answer, f"/keys/{visit.kid}")
    words = ["keys", "verify"]
    for name, option in _OPTIONS.items():
        words += [option, asked[name]] if asked[name] else []
    words += [word for scope in scopes for word in ("--scope", scope)]
    return visit.page(
        "explain.html",
        kid=visit.kid,
        asked=asked,
        denial=_denial(visit),
        errors={name: answer.fields.get(_snake(path), "") for name, path in _FIELDS.items()},
        scope_error=answer.fields.get("required_scopes", ""),
        verdict=answer.data if answer.is_ok else None,
        key=answer.data.get("key", {}) if answer.is_ok else {},
        denials=use.data.get("latestUse", {}).get("denials", ()) if use.is_ok else (),
        does=does(words, call),
    )


def _denial(visit: Visit) -> dict[str, str]:
    """Return what the URL tells about the denial that the visitor came from, as texts.

    Somebody else may have written the URL: only a reason, a time and a label of a route are shown.
    """
    reason, at, route = (visit.query(name) for name in ("denied", "at", "route"))
    if reason not in set(Reason):
        return {"reason": ""}
    return {
        "reason": reason.replace("_", " "),
        "at": at if _is_time(at) else "",
        "route": route if _LABEL.fullmatch(route) else "",
    }


def _is_time(text: str) -> bool:
    try:
        return bool(text) and bool(moment(text))
    except (ValueError, OverflowError):
        return False


def _snake(name: str) -> str:
    return "client_address" if name == "clientAddress" else name
