"""Change many keys, picked ones or all that fit a search: a preview, then the change."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Route

from authz.console.pages.api_client import Answer, Call
from authz.console.pages.changing import REASONS, WAIT
from authz.console.pages.commands import Does, does, does_each
from authz.console.pages.formats import word
from authz.console.pages.issuing import plans_of
from authz.console.pages.key_filter import KeyFilter
from authz.console.pages.key_form import LIFETIMES
from authz.console.pages.visit import Console, Visit

ACTIONS: Final = (
    ("disable", "Disable"),
    ("enable", "Enable"),
    ("revoke", "Revoke"),
    ("plan", "Set the plan"),
    ("add_scope", "Grant a scope"),
    ("remove_scope", "Take a scope away"),
    ("expires", "Set the end"),
    ("delete", "Delete"),
)
SHOWN: Final = 200  # keys of a preview or a result
_WITH_VALUE: Final = {"plan", "add_scope", "remove_scope", "expires"}
_FINAL: Final = {"revoke", "delete"}


def routes(console: Console) -> list[Route]:
    """Return the route of preview and result."""
    return [Route("/keys/bulk", console.endpoint(_bulk), methods=["POST"])]


async def _bulk(visit: Visit) -> Response:
    change, picked = visit.text("change"), tuple(visit.form.get("pick", ()))
    chosen = KeyFilter.of((name, values[0]) for name, values in visit.form.items())
    is_all = visit.text("of") == "all" and bool(chosen.text)
    if change not in dict(ACTIONS) or not (is_all or picked):
        text = "Pick some keys in the list, or search first and choose all that fit."
        return visit.renderer.error(visit, 400, "No key was picked", text, back="/keys")
    is_asking = change in _WITH_VALUE and not visit.text("value")
    is_run = visit.text("do") == "run" and not is_asking
    selection = {"filter": chosen.text} if is_all else {"names": [f"keys/{kid}" for kid in picked]}
    body = {**selection, **_change(visit, change), "note": visit.text("note")}
    body |= {"waitTime": WAIT} if is_run else {"validateOnly": True}
    call = Call(
        "POST", "/v1/keys:change", (), {name: value for name, value in body.items() if value != ""}
    )
    rows, fault = ([], "") if is_asking else await _outcomes(visit, call)
    last = rows.pop() if rows and "confirmation" in rows[-1] else {}
    failed = [row for row in rows if row.get("error")]
    return visit.page(
        "bulk.html",
        change=change,
        label=dict(ACTIONS)[change],
        is_asking=is_asking,
        is_run=is_run,
        is_final=change in _FINAL,
        needs_value=change in _WITH_VALUE,
        value=visit.text("value"),
        rows=[*failed, *(row for row in rows if not row.get("error"))][:SHOWN],
        count=len(rows),
        failed=len(failed),
        fault=fault,
        confirmation=last.get("confirmation", {}),
        picked=() if is_all else picked,
        chosen=chosen,
        is_all=is_all,
        note=visit.text("note"),
        reason=visit.text("reason"),
        reasons=REASONS,
        lifetimes=LIFETIMES,
        plans=plans_of(await visit.api.get("/v1/installation")),
        does=_does(visit, change, chosen if is_all else None, picked, call),
    )


async def _outcomes(visit: Visit, call: Call) -> tuple[list[Mapping[str, Any]], str]:
    """Return the messages of the API, and the fault that ended them or empty text."""
    found = await visit.api.lines(call)
    if isinstance(found, Answer):
        return [], found.detail
    rows: list[Mapping[str, Any]] = []
    async for row in found:
        if isinstance(row.get("error"), dict):
            return rows, str(row["error"].get("detail", ""))
        rows.append(row)
    return rows, ""


def _change(visit: Visit, change: str) -> dict[str, Any]:
    """Return the change as the API has it."""
    value = visit.text("value")
    if change == "plan":
        plan = {} if value == "none" else {"plan": value}
        return {"update": {"key": plan, "updateMask": "plan"}}
    if change in ("add_scope", "remove_scope"):
        return {"update": {f"{change.removesuffix('_scope')}Scopes": value.split()}}
    if change == "expires":
        if value == "never":
            return {"update": {"key": {"neverExpires": True}, "updateMask": "neverExpires"}}
        ttl = next((seconds for name, _, seconds in LIFETIMES if name == value), value)
        return {"update": {"key": {"ttl": ttl}, "updateMask": "ttl"}}
    if change == "revoke":
        return {"revoke": {"reason": visit.text("reason") or REASONS[0][0]}}
    return {change: {}}


def _does(
    visit: Visit, change: str, chosen: KeyFilter | None, picked: tuple[str, ...], call: Call
) -> Does:
    value, reason = visit.text("value"), word(visit.text("reason"), "REVOCATION_REASON")
    of_change: dict[str, tuple[str, list[str]]] = {
        "plan": ("update", ["--clear", "plan"] if value == "none" else ["--plan", value]),
        "add_scope": ("update", ["--add-scope", value]),
        "remove_scope": ("update", ["--remove-scope", value]),
        "expires": ("update", ["--expires-in", value]),
        "revoke": ("revoke", ["--reason", reason.replace(" ", "_")] if reason else []),
    }
    verb, options = of_change.get(change, (change, []))
    if chosen is None:
        each = [["keys", verb, kid, *options, "--wait"] for kid in picked[:SHOWN]]
        return does_each(each, call)
    where = chosen.where() if verb == "update" else chosen.selecting()
    return does(["keys", verb, *where, *options, "--wait"], call)
