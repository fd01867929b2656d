"""Issue a key, and give a key a new secret. The secret is in one response and nowhere else.

Each form has a request id of its own, so a form that is sent twice makes one key.
"""

import secrets
import shlex
from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Route

from authz.console.pages.api_client import Answer, Call
from authz.console.pages.commands import Does, does
from authz.console.pages.key_form import LIFETIMES, KeyForm, errors_of
from authz.console.pages.visit import Console, Visit

OVERLAPS: Final = (
    ("0s", "None: the old secret stops at once"),
    ("3600s", "1 hour"),
    ("86400s", "1 day"),
    ("604800s", "7 days"),
    ("2592000s", "30 days"),
)
WEEK: Final = "604800s"
NOTE: Final = "note"


def routes(console: Console) -> list[Route]:
    """Return the routes of both forms."""
    return [
        Route("/keys/new", console.endpoint(_issue, "create"), methods=["GET", "POST"]),
        Route("/keys/{kid}/rotate", console.endpoint(_rotate, "rotate"), methods=["GET", "POST"]),
    ]


async def _issue(visit: Visit) -> Response:
    installation = await visit.api.get("/v1/installation")
    if not visit.is_form:
        names = ("client", "tenant", "project", "plan")
        form = KeyForm({name: visit.query(name) for name in names} | {"expires": "90d"})
        return _issue_page(visit, installation, form, secrets.token_hex(16))
    form, request_id = KeyForm.sent(visit.form), visit.text("request_id")
    if visit.text("do") == "issue":
        call = _create_call(visit, form, request_id)
        answer = await visit.api.call(call)
        if answer.is_ok:
            return _secret_page(visit, answer, installation, _issued(visit, form, call))
        return _issue_page(visit, installation, form, request_id, answer=answer)
    answer = await visit.api.call(_create_call(visit, form, "", validate_only=True))
    return _issue_page(visit, installation, form, request_id, answer=answer)


def _create_call(
    visit: Visit, form: KeyForm, request_id: str, *, validate_only: bool = False
) -> Call:
    query = [("requestId", request_id), (NOTE, visit.text(NOTE))]
    if validate_only:
        query.append(("validateOnly", "true"))
    body = form.key()
    if form.get("env") == "test":
        body["env"] = "ENVIRONMENT_TEST"
    if form.get("public") == "yes":
        body["public"] = True
    return Call("POST", "/v1/keys", tuple((name, text) for name, text in query if text), body)


def _issued(visit: Visit, form: KeyForm, call: Call) -> Does:
    words = ["keys", "issue", *form.options()]
    if form.get("env") == "test":
        words += ["--env", "test"]
    if form.get("public") == "yes":
        words += ["--public"]
    if visit.text(NOTE):
        words += ["--note", visit.text(NOTE)]
    return does(words, call)


def _issue_page(
    visit: Visit,
    installation: Answer,
    form: KeyForm,
    request_id: str,
    answer: Answer | None = None,
) -> Response:
    """Return the form, with a preview if the API would take it, else with its refusals."""
    errors = errors_of(answer.fields) if answer else {}
    fault = answer.detail if answer and not answer.is_ok and not errors else ""
    return visit.page(
        "issue.html",
        422 if errors else answer.status if answer and fault else 200,
        form=form,
        errors=errors,
        fault=fault,
        preview=answer.data["key"] if answer and answer.is_ok else None,
        plans=plans_of(installation),
        lifetimes=LIFETIMES,
        request_id=request_id,
        note=visit.text(NOTE),
        does=_issued(visit, form, _create_call(visit, form, "")),
    )


def plans_of(installation: Answer) -> Mapping[str, list[str]]:
    """Return the limits of each plan by its name; nothing if the API did not tell."""
    plans = installation.data.get("plans", ()) if installation.is_ok else ()
    return {each["plan"]: each.get("limits", []) for each in plans}


async def _rotate(visit: Visit) -> Response:
    found = await visit.api.get(f"/v1/keys/{visit.kid}")
    if not found.is_ok:
        return visit.failure(found, "/keys")
    if not visit.is_form:
        return _rotate_page(visit, found.data["key"], secrets.token_hex(16))
    call = _rotate_call(visit, visit.text("overlap") or WEEK, visit.text("request_id"))
    answer = await visit.api.call(call)
    if not answer.is_ok:
        return _rotate_page(visit, found.data["key"], visit.text("request_id"), answer)
    installation = await visit.api.get("/v1/installation")
    return _secret_page(visit, answer, installation, _rotated(visit, call))


def _rotate_call(visit: Visit, overlap: str, request_id: str) -> Call:
    body = {"overlap": overlap, "requestId": request_id, NOTE: visit.text(NOTE)}
    body = {name: value for name, value in body.items() if value}
    return Call("POST", f"/v1/keys/{visit.kid}:rotate", (), body)


def _rotated(visit: Visit, call: Call) -> Does:
    words = ["keys", "rotate", visit.kid, "--grace", call.body["overlap"] if call.body else ""]
    if visit.text(NOTE):
        words += ["--note", visit.text(NOTE)]
    return does(words, call)


def _rotate_page(
    visit: Visit, key: Mapping[str, Any], request_id: str, answer: Answer | None = None
) -> Response:
    overlap = visit.text("overlap") or WEEK
    return visit.page(
        "rotate.html",
        answer.status if answer else 200,
        key=key,
        kid=visit.kid,
        overlaps=OVERLAPS,
        overlap=overlap,
        fault=answer.detail if answer else "",
        request_id=request_id,
        note=visit.text(NOTE),
        does=_rotated(visit, _rotate_call(visit, overlap, "")),
    )


def _secret_page(visit: Visit, answer: Answer, installation: Answer, done: Does) -> Response:
    text = answer.data["apiKey"]
    return visit.page(
        "secret.html",
        key=answer.data["key"],
        is_new="rotate" not in visit.request.url.path,
        text=text,
        curl=example(visit, installation, answer.data["key"], text),
        has_gateway=bool(visit.gateway),
        does=done,
    )


def example(visit: Visit, installation: Answer, key: Mapping[str, Any], text: str) -> str:
    """Return a curl command that sends the key to the gateway, in the header of the settings."""
    header = installation.data.get("keyHeader", "x-api-key")
    scheme = installation.data.get("keyScheme", "")
    hosts = [host for host in key.get("allowedHosts", ()) if "*" not in host]
    gateway = visit.gateway or f"https://{hosts[0] if hosts else 'YOUR-GATEWAY'}"
    words = ["curl", "-i", f"{gateway.rstrip('/')}/"]
    if scheme == "basic":
        return shlex.join([*words, "-u", f"{text}:"])
    value = f"{scheme.capitalize()} {text}" if scheme else text
    return shlex.join([*words, "-H", f"{header}: {value}"])
