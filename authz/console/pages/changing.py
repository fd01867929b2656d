"""Revoke, disable, enable, delete a key, or end one of its secrets: a question, then the result.

The API waits until the sidecars have applied the change, so the result says whether they have.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Route

from authz.console.pages.api_client import Answer, Call
from authz.console.pages.commands import Does, does
from authz.console.pages.formats import word
from authz.console.pages.pending_delivery import pending_delivery
from authz.console.pages.visit import Console, Handler, Visit

WAIT: Final = "10s"
REASONS: Final = (
    ("REVOCATION_REASON_UNSPECIFIED", "No reason"),
    ("REVOCATION_REASON_KEY_COMPROMISE", "The secret is known to others, or may be"),
    ("REVOCATION_REASON_CESSATION_OF_OPERATION", "The owner needs it no more"),
    ("REVOCATION_REASON_SUPERSEDED", "Another key replaces it"),
    ("REVOCATION_REASON_AFFILIATION_CHANGED", "The owner belongs to somebody else"),
    ("REVOCATION_REASON_PRIVILEGE_WITHDRAWN", "The owner may not use it any more"),
)


@dataclass(frozen=True, slots=True)
class Change:
    """A change with a confirmation. verb: of the API and the page. is_final: nothing undoes it."""

    verb: str
    title: str
    effect: str
    button: str
    done: str
    is_final: bool = False


CHANGES: Final = (
    Change(
        "revoke",
        "Revoke",
        "Every request with this key is denied from then on. Nobody can enable it again.",
        "Revoke for ever",
        "The key is revoked",
        is_final=True,
    ),
    Change(
        "disable",
        "Disable",
        "Every request with this key is denied until somebody enables it.",
        "Disable the key",
        "The key is disabled",
    ),
    Change("enable", "Enable", "The key works again.", "Enable the key", "The key is enabled"),
    Change(
        "retire",
        "End a secret of",
        "Requests with this secret are denied from then on. The other secret works as before.",
        "End the secret",
        "The secret has ended",
        is_final=True,
    ),
    Change(
        "delete",
        "Delete",
        "The record and its history are removed for ever. The audit trail keeps the deletion.",
        "Delete for ever",
        "The key is deleted",
        is_final=True,
    ),
)


def routes(console: Console) -> list[Route]:
    """Return the routes of all changes."""
    return [
        Route(
            f"/keys/{{kid}}/{change.verb}",
            console.endpoint(_handler(change), change.verb),
            methods=["GET", "POST"],
        )
        for change in CHANGES
    ]


def _handler(change: Change) -> Handler:
    async def respond(visit: Visit) -> Response:
        found = await visit.api.get(f"/v1/keys/{visit.kid}")
        if not found.is_ok:
            return visit.failure(found, "/keys")
        key = found.data["key"]
        if not visit.is_form:
            return await _question(visit, change, key, key["etag"])
        call = change_call(change.verb, visit.kid, _details(visit))
        answer = await visit.api.call(call)
        if not answer.is_ok:
            return await _question(visit, change, key, key["etag"], answer)
        return visit.page(
            "changed.html",
            change=change,
            key=answer.data.get("key", key),
            kid=visit.kid,
            outcome=answer.data.get("outcome", {}),
            confirmation=confirmation_of(answer),
            does=_does(visit, change, call),
        )

    return respond


def _details(visit: Visit) -> dict[str, str]:
    """Return the fields of the request that the form has."""
    names = ("etag", "note", "reason", "secret")
    return {name: visit.text(name) for name in names if visit.text(name)}


def change_call(verb: str, kid: str, details: Mapping[str, str]) -> Call:
    """Return the call for a change of a key, which waits for the sidecars."""
    if verb == "delete":
        query = (*((name, text) for name, text in details.items()), ("waitTime", WAIT))
        return Call("DELETE", f"/v1/keys/{kid}", query)
    verb = "retireSecret" if verb == "retire" else verb
    return Call("POST", f"/v1/keys/{kid}:{verb}", (), {**details, "waitTime": WAIT})


def confirmation_of(answer: Answer) -> Mapping[str, Any]:
    """Return what the sidecars answered to a change."""
    outcome = answer.data.get("outcome", answer.data)
    found: Mapping[str, Any] = outcome.get("confirmation", {})
    return found


def _does(visit: Visit, change: Change, call: Call) -> Does:
    words = ["keys", change.verb, visit.kid]
    if change.verb == "retire":
        words += ["--secret", visit.text("secret") or visit.query("secret") or "old"]
    reason = word(visit.text("reason"), "REVOCATION_REASON")
    if reason:
        words += ["--reason", reason.replace(" ", "_")]
    if visit.text("note"):
        words += ["--note", visit.text("note")]
    return does([*words, "--wait"], call)


async def _question(
    visit: Visit, change: Change, key: Mapping[str, Any], etag: str, answer: Answer | None = None
) -> Response:
    secret = visit.text("secret") or visit.query("secret")
    details = _details(visit) | ({"secret": secret} if secret else {})
    return visit.page(
        "change.html",
        answer.status if answer else 200,
        change=change,
        key=key,
        kid=visit.kid,
        etag=etag,
        secret=secret,
        reasons=REASONS,
        reason=visit.text("reason"),
        note=visit.text("note"),
        fault=answer.detail if answer else "",
        delivery=await pending_delivery(visit) if change.verb == "retire" else None,
        is_stale=answer is not None and answer.reason == "VERSION_CONFLICT",
        does=_does(visit, change, change_call(change.verb, visit.kid, details)),
    )
