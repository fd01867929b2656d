"""The incident view: a leaked text names keys; it shows who used them and revokes them.

The text goes to VerifyKey and nowhere else. No page, URL or report has it.
"""

import asyncio
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Route

from authz.console.pages.api_client import Answer, Call
from authz.console.pages.changing import change_call, confirmation_of
from authz.console.pages.commands import does
from authz.console.pages.incident_report import report, steps
from authz.console.pages.one_key import rights
from authz.console.pages.security_headers import HEADERS
from authz.console.pages.usage_chart import OUTCOMES, SPANS, chart_of, usage_call
from authz.console.pages.visit import Console, Visit

MAX_KEYS: Final = 20  # of one text
MAX_WORDS: Final = 40  # that are tried as imported keys
# One key of ours, complete or cut off behind the kid. Each part has a bound, so it is linear.
_OURS: Final = re.compile(
    r"(?<![0-9A-Za-z_])[a-z][a-z0-9]{1,11}_(?:live|test)_([0-9A-Za-z]{16})(?![0-9A-Za-z])"
    r"(?:_[0-9A-Za-z]{1,64})?",
    re.ASCII,
)
_WORD: Final = re.compile(r"[0-9A-Za-z_.~+/=-]{16,256}", re.ASCII)
_SECRET_FLAWS: Final = ("malformed", "forged", "wrong_secret", "secret_retired", "unknown_key")


@dataclass(frozen=True, slots=True)
class Found:
    """A key that the text names. is_proven: the text has a secret of it that is right.

    why: about a text that proves nothing; empty if it proves the key.
    """

    kid: str
    key: Mapping[str, Any] | None
    why: str = ""

    @property
    def is_proven(self) -> bool:
        """Whether the text proves that the key is known to others."""
        return not self.why


def routes(console: Console) -> list[Route]:
    """Return the routes of the view and of the report."""
    return [
        Route("/incident", console.endpoint(_incident), methods=["GET", "POST"]),
        Route("/incident/{kid}", console.endpoint(_one), methods=["GET", "POST"]),
        Route("/incident/{kid}/report.md", console.endpoint(_report)),
    ]


async def _incident(visit: Visit) -> Response:
    text = visit.text("text")
    found = await _find(visit, text) if text else None
    if isinstance(found, Answer):
        return visit.failure(found, "/incident")
    if found and len(found) == 1 and found[0].key and found[0].is_proven:
        kid = found[0].kid
        return visit.redirect(f"/incident/{kid}?proven={_mark(visit, kid)}")
    mark = partial(_mark, visit)
    return visit.page("incident.html", found=found, was_sent=visit.is_form, mark=mark)


def _mark(visit: Visit, kid: str) -> str:
    """Return the parameter of links to a proven key: a link of anybody else proves nothing."""
    return hmac.digest(visit.session.csrf_token.encode(), f"proven {kid}".encode(), "sha256").hex()


async def _find(visit: Visit, text: str) -> list[Found] | Answer:
    """Return the keys that the text names, or the answer that prevents to tell."""
    ours = {match[1]: match[0] for match in list(_OURS.finditer(text))[:MAX_KEYS]}
    words = [] if ours else list(dict.fromkeys(_WORD.findall(text)))[:MAX_WORDS]
    found: dict[str, Found] = {}
    for kid, candidate in [*ours.items(), *(("", word) for word in words)]:
        verdict = await visit.api.call(
            Call("POST", "/v1/keys:verify", (), {"apiKey": candidate, "requiredScopes": [_SCOPE]})
        )
        if not verdict.is_ok:
            return verdict
        key = verdict.data.get("key")
        if key:
            named = key["name"].removeprefix("keys/")
            flaw = _flaw(verdict)
            if named not in found or found[named].why:
                found[named] = Found(named, key, flaw)
        elif kid and kid not in found:
            shown = await visit.api.get(f"/v1/keys/{kid}")
            found[kid] = Found(
                kid,
                shown.data.get("key") if shown.is_ok else None,
                _flaw(verdict) or "not verified",
            )
    return list(found.values())


def _flaw(verdict: Answer) -> str:
    reason = str(verdict.data.get("reason", ""))
    return reason if reason in _SECRET_FLAWS else ""


async def _one(visit: Visit) -> Response:
    name = f"keys/{visit.kid}"
    confirmation: Mapping[str, Any] = {}
    fault, call = "", change_call("revoke", visit.kid, {"reason": _COMPROMISE})
    if visit.is_form:
        call = change_call("revoke", visit.kid, {"reason": _COMPROMISE, "note": visit.text("note")})
        answer = await visit.api.call(call)
        fault, confirmation = answer.detail, confirmation_of(answer) if answer.is_ok else {}
    key, use, usage, history = await _facts(visit, name)
    if not key.is_ok:
        return visit.failure(key, "/incident")
    record = key.data["key"]
    return visit.page(
        "incident_key.html",
        200,
        key=record,
        kid=visit.kid,
        is_proven=hmac.compare_digest(
            visit.query("proven").encode(), _mark(visit, visit.kid).encode()
        ),
        use=use,
        latest=use.data.get("latestUse", {}) if use.is_ok else {},
        chart=chart_of("30d", usage),
        spans={"30d": SPANS["30d"]},
        outcomes=OUTCOMES,
        base=f"/incident/{visit.kid}",
        history=history,
        fault=fault,
        confirmation=confirmation,
        steps=steps(record, history, visit.now),
        rights=rights(visit, record),
        does=does(
            ["keys", "revoke", visit.kid, "--reason", "key_compromise", "--wait"],
            call,
        ),
    )


# A route with scopes is open for keys whatever the settings say, so the secret is always judged.
_SCOPE: Final = "authz:leaked"
_COMPROMISE: Final = "REVOCATION_REASON_KEY_COMPROMISE"


async def _facts(visit: Visit, name: str) -> tuple[Answer, Answer, Answer, Answer]:
    """Return the key, its latest use, its usage of 30 days and its history."""
    return await asyncio.gather(
        visit.api.get(f"/v1/{name}"),
        visit.api.get(f"/v1/{name}/latestUse"),
        visit.api.call(usage_call("30d", name)),
        visit.api.get(f"/v1/{name}/history", [("pageSize", "50")]),
    )


async def _report(visit: Visit) -> Response:
    key, use, usage, history = await _facts(visit, f"keys/{visit.kid}")
    if not key.is_ok:
        return visit.failure(key, "/incident")
    text = report(key.data["key"], use, usage, history, visit.now)
    headers = {
        **HEADERS,
        "content-disposition": f'attachment; filename="incident-{visit.kid}.md"',
    }
    return Response(text, 200, headers, "text/markdown; charset=utf-8")
