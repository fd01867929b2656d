"""Change the fields of a key. A form that is stale changes nothing and shows the difference."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from authz.console.pages.api_client import Answer, Call
from authz.console.pages.changing import WAIT, confirmation_of
from authz.console.pages.commands import Does, does
from authz.console.pages.issuing import plans_of
from authz.console.pages.key_form import KEEP, LABELS, LIFETIMES, KeyForm, errors_of
from authz.console.pages.visit import Console, Visit


def routes(console: Console) -> list[Route]:
    """Return the route of the form."""
    return [Route("/keys/{kid}/edit", console.endpoint(_edit, "narrow"), methods=["GET", "POST"])]


async def _edit(visit: Visit) -> Response:
    found = await visit.api.get(f"/v1/keys/{visit.kid}")
    if not found.is_ok:
        return visit.failure(found, "/keys")
    key = found.data["key"]
    if not visit.is_form:
        return await _page(visit, key, KeyForm.of_key(key))
    form = KeyForm.sent(visit.form)
    names = form.changed(key)
    if not names:
        return await _page(visit, key, form, unchanged=True)
    if visit.text("etag") != key["etag"]:
        return await _page(visit, key, form, stale=True)
    call = _call(visit, form, names, is_preview=visit.text("do") == "preview")
    answer = await visit.api.call(call)
    if not answer.is_ok and answer.reason == "VERSION_CONFLICT":
        again = await visit.api.get(f"/v1/keys/{visit.kid}")
        return await _page(visit, again.data.get("key", key), form, stale=True)
    if not answer.is_ok or visit.text("do") == "preview":
        return await _page(visit, key, form, answer)
    return visit.page(
        "edited.html",
        kid=visit.kid,
        differences=differences(key, KeyForm.of_key(answer.data["key"])),
        end=answer.data["key"].get("expireTime") if "expires" in names else None,
        has_end="expires" in names,
        confirmation=confirmation_of(answer),
        does=_does(visit, form, names, call),
    )


def _call(visit: Visit, form: KeyForm, names: list[str], *, is_preview: bool) -> Call:
    query = [("updateMask", form.mask(names)), ("note", visit.text("note"))]
    query.append(("validateOnly", "true") if is_preview else ("waitTime", WAIT))
    body = form.key(names) | {"etag": visit.text("etag")}
    return Call("PATCH", f"/v1/keys/{visit.kid}", tuple(pair for pair in query if pair[1]), body)


def _does(visit: Visit, form: KeyForm, names: list[str], call: Call) -> Does:
    words = ["keys", "update", visit.kid, *form.options(names)]
    if visit.text("note"):
        words += ["--note", visit.text("note")]
    return does(words, call)


def differences(key: Mapping[str, Any], form: KeyForm) -> list[tuple[str, str, str]]:
    """Return the label, the value of the key and that of the form, of each field that differs."""
    now = KeyForm.of_key(key)
    return [
        (LABELS[name], now.get(name).replace("\n", ", "), form.get(name).replace("\n", ", "))
        for name in form.changed(key)
        if name != "expires"
    ]


async def _page(
    visit: Visit,
    key: Mapping[str, Any],
    form: KeyForm,
    answer: Answer | None = None,
    *,
    stale: bool = False,
    unchanged: bool = False,
) -> Response:
    installation = await visit.api.get("/v1/installation")
    errors = errors_of(answer.fields) if answer else {}
    names = form.changed(key)
    return visit.page(
        "edit.html",
        409 if stale else 422 if errors else answer.status if answer else 200,
        key=key,
        kid=visit.kid,
        form=form,
        errors=errors,
        fault=answer.detail if answer and not errors else "",
        is_preview=answer is not None and answer.is_ok,
        is_stale=stale,
        unchanged=unchanged,
        differences=differences(key, form),
        plans=plans_of(installation),
        lifetimes=LIFETIMES,
        keep=KEEP,
        note=visit.text("note"),
        does=_does(visit, form, names, _call(visit, form, names, is_preview=False)),
    )
