"""The page of one key: its record, use, limits, secrets and history."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Route

from authz.console.pages.anomalies import risk_call, risk_of
from authz.console.pages.api_client import Answer, Call
from authz.console.pages.commands import does
from authz.console.pages.formats import moment
from authz.console.pages.pending_delivery import pending_delivery
from authz.console.pages.usage_chart import OUTCOMES, SPANS, chart_name, chart_of, usage_call
from authz.console.pages.visit import Console, Visit

RECENT: Final = 8  # changes on the page of a key
_PAGE: Final = 50
_CHANGES: Final = (
    *("update", "narrow", "rotate", "retire", "revoke", "disable", "enable", "delete"),
    *("verify", "reset_limits"),
)


def routes(console: Console) -> list[Route]:
    """Return the routes of one key."""
    return [
        Route("/keys/{kid}", console.endpoint(_show)),
        Route("/keys/{kid}/history", console.endpoint(_history)),
    ]


async def _show(visit: Visit) -> Response:
    kid = visit.kid
    name, span = f"keys/{kid}", chart_name(visit.query("span"))
    get = Call("GET", f"/v1/{name}")
    key, limits, use, usage, history, odd, delivery = await asyncio.gather(
        visit.api.call(get),
        visit.api.get(f"/v1/{name}/limits"),
        visit.api.get(f"/v1/{name}/latestUse"),
        visit.api.call(usage_call(span, name)),
        visit.api.get(f"/v1/{name}/history", [("pageSize", str(RECENT))]),
        visit.api.call(risk_call(kid)),
        pending_delivery(visit),
    )
    if not key.is_ok:
        return visit.failure(key, "/keys")
    record = key.data["key"]
    return visit.page(
        "key.html",
        key=record,
        kid=kid,
        limits=limits,
        latest=_use_of(use),
        secrets=_secrets(record, _use_of(use), visit.now),
        use=use,
        chart=chart_of(span, usage),
        spans=SPANS,
        outcomes=OUTCOMES,
        base=f"/keys/{kid}",
        history=history,
        risk=risk_of(odd),
        delivery=delivery,
        rights=rights(visit, record),
        does=does(["keys", "show", kid], get),
    )


async def _history(visit: Visit) -> Response:
    call = Call("GET", f"/v1/keys/{visit.kid}/history", (("pageSize", str(_PAGE)),))
    token = visit.query("page")
    if token:
        call = Call(call.method, call.path, (*call.query, ("pageToken", token)))
    answer = await visit.api.call(call)
    if not answer.is_ok:
        return visit.failure(answer, "/keys")
    return visit.page(
        "history.html",
        kid=visit.kid,
        history=answer,
        following=answer.data.get("nextPageToken", ""),
        does=does(["keys", "history", visit.kid], call),
    )


def rights(visit: Visit, key: Mapping[str, Any]) -> dict[str, bool]:
    """Return the actions that the visitor may take on this key, by their names."""
    where = key.get("tenantId", ""), key.get("projectId", "")
    scopes = key.get("scopes", ())
    return {name: visit.may(name, *where, scopes=scopes) for name in _CHANGES}


def _use_of(answer: Answer) -> Mapping[str, Any]:
    found: Mapping[str, Any] = answer.data.get("latestUse", {}) if answer.is_ok else {}
    return found


def _secrets(
    key: Mapping[str, Any], latest: Mapping[str, Any], now: datetime
) -> list[dict[str, Any]]:
    """Return the secrets, newest first, each with its latest use and whether it works."""
    used = {each["secretId"]: each for each in latest.get("secrets", ())}
    is_revoked = key["status"] == "STATUS_REVOKED"
    return [
        {
            **secret,
            "use": used.get(secret["secretId"], {}),
            "is_live": not is_revoked
            and not ("retireTime" in secret and moment(secret["retireTime"]) <= now),
        }
        for secret in reversed(key.get("secrets", ()))
    ]
