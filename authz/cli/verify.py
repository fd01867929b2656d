"""`authz keys verify`."""

import ipaddress
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import click

from authz.cli.administration import load_settings, with_session
from authz.cli.invocation import Invocation, common
from authz.cli.options import scopes
from authz.cli.stdin_key import key_from_stdin
from authz.cli.times import rfc3339
from authz.core import fields
from authz.core.decision import Deny, Reason
from authz.core.errors import BadInput
from authz.core.keys.text import ENVIRONMENTS
from authz.core.limits.limit import parse_cost
from authz.core.records import KeyRecord
from authz.core.request import Request
from authz.flows.verify import CHECKS, Verdict
from authz.rpc.check.build_request import carried, check_request
from authz.rpc.check.reason_table import TABLE
from authz.settings.model import Extract
from authz.wiring.administration import AdminSession

ALLOWED, DENIED = 0, 1
NOWHERE: Final = "not-given.invalid"  # RFC 2606; a request always has a host

_METHOD: Final = re.compile(r"[A-Z][A-Z-]{0,31}", re.ASCII)
_AUTHORITY: Final = re.compile(r"[!-+\--~]{1,260}", re.ASCII)  # printable, without a comma
_PATH: Final = re.compile(r"/[!-~]{0,8191}", re.ASCII)


def _shaped(pattern: re.Pattern[str], good: str) -> Callable[..., str]:
    def read(_context: click.Context, parameter: click.Parameter, value: str) -> str:
        if value != parameter.default and not pattern.fullmatch(value):
            raise BadInput(parameter.opts[0], f"{fields.shown(value)}: {good}")
        return value

    return read


def _address(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        return str(ipaddress.ip_address(value)) if value else ""
    except ValueError:
        problem = f"{fields.shown(value)} is not an address, such as 203.0.113.7"
        raise BadInput("--ip", problem) from None


def _origin(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    return fields.line("--origin", value, fields.MAX_ORIGIN)


def _cost(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str:
    return "" if value is None else str(parse_cost("--cost", value))


@click.command()
@click.option(
    "--method",
    metavar="METHOD",
    default="GET",
    callback=_shaped(_METHOD, "not a method, such as POST"),
    show_default=True,
    help="Method of the request.",
)
@click.option(
    "--host",
    metavar="HOST",
    default="",
    callback=_shaped(_AUTHORITY, "not a host, such as api.example.com"),
    help="Host of the request.",
)
@click.option(
    "--path",
    metavar="PATH",
    default="/",
    callback=_shaped(_PATH, "not a path, such as /v1/models"),
    show_default=True,
    help="Path of the request.",
)
@click.option(
    "--ip", metavar="ADDRESS", default="", callback=_address, help="Address of the client."
)
@click.option("--origin", metavar="ORIGIN", default="", callback=_origin, help="Origin header.")
@click.option(
    "--scope", metavar="SCOPE", multiple=True, help="Scope that the route requires. Repeatable."
)
@click.option(
    "--env", type=click.Choice(ENVIRONMENTS), help="Environment of the route. Default: check.env."
)
@click.option(
    "--cost",
    metavar="UNITS",
    callback=_cost,
    help="Units that the route takes from limits. Default: by routes, else 1.",
)
@common
@click.pass_obj
def verify(invocation: Invocation, /, scope: tuple[str, ...], env: str | None, **asked: str) -> int:
    """Show the decision on a key, and its reason.

    Reads the key from stdin and never shows it. Prints one line for each check. The first check
    that denies decides; the later ones show other obstacles. Takes nothing from limits. Exit code
    0: allow, 1: deny.

    \b
    Examples:
      authz keys verify < key.txt
      authz keys verify --host api.example.com --path /v1/models --ip 203.0.113.7 < key.txt
      authz keys verify --scope models:generate --cost 5 < key.txt
      authz keys verify --env live --json < key.txt | jq -r .reason
    """
    found = load_settings(invocation)
    extensions = {
        "scopes": " ".join(sorted(scopes("--scope", scope))),
        "env": env or "",
        "cost": asked["cost"],
    }
    text = key_from_stdin("the key")
    raw = check_request(
        method=asked["method"],
        host=asked["host"] or NOWHERE,
        path=asked["path"],
        peer=asked["ip"],
        headers=_headers(found.extract, text, asked["ip"], asked["origin"]),
        extensions={name: fact for name, fact in extensions.items() if fact},
    )

    async def work(session: AdminSession) -> tuple[Request, Verdict]:
        request = session.read(raw)
        return request, await session.verifier.verify(request)

    request, verdict = with_session(invocation, work)
    rows = [_row(check, verdict, request) for check in CHECKS]
    invocation.answer(_document(verdict, rows), _text(verdict, rows))
    return DENIED if isinstance(verdict.decision, Deny) else ALLOWED


def _headers(extract: Extract, text: str, ip: str, origin: str) -> dict[str, str]:
    """Return the headers of a request with the key in a carrier of these settings."""
    carriers = extract.headers
    carrier = next((name for name in carriers if name.endswith(":")), carriers[0])
    header, value = carried(carrier, text)
    headers = {header: value}
    if origin:
        headers["origin"] = origin
    if ip and extract.client_address != "peer":
        headers[extract.client_address] = ip
    return headers


Row = dict[str, str | None]  # check, result, reason, why


def _row(check: str, verdict: Verdict, request: Request) -> Row:
    if check not in verdict.said:
        return {"check": check, "result": "skipped", "reason": None, "why": ""}
    reason = verdict.said[check]
    if verdict.record is not None:
        why = _FACTS[check](verdict.record, request) if check in _FACTS else _limits(verdict)
    elif reason is None:
        why = ""
    else:
        why = verdict.fault or _WHY.get(check, {}).get(reason) or TABLE[reason].detail
    return {
        "check": check,
        "result": "deny" if reason else "ok",
        "reason": reason.value if reason else None,
        "why": why,
    }


def _document(verdict: Verdict, rows: list[Row]) -> dict[str, Any]:
    record, decision = verdict.record, verdict.decision
    reason = decision.reason if isinstance(decision, Deny) else None
    return {
        "decision": "deny" if reason else "allow",
        "reason": reason.value if reason else None,
        "status": TABLE[reason].status if reason else HTTPStatus.OK.value,
        "code": TABLE[reason].code if reason else None,
        "violated": _violated(verdict),
        "kid": record.kid if record else None,
        "client_id": record.client_id if record else None,
        "checks": rows,
    }


def _text(verdict: Verdict, rows: list[Row]) -> str:
    marks = {"ok": "ok", "deny": "DENY", "skipped": "-"}
    lines = [f"{row['check']:<12}  {marks[row['result'] or '']:<4}  {row['why']}" for row in rows]
    if isinstance(verdict.decision, Deny):
        reason = verdict.decision.reason
        public = TABLE[reason]
        lines.append(f"deny: {reason.value}; the caller is told {public.status} {public.code}")
    elif verdict.record is None:
        lines.append("allow: anonymous; the text on stdin is not one of our keys")
    else:
        lines.append(f"allow: {verdict.record.kid} of client {verdict.record.client_id}")
    return "\n".join(line.rstrip() for line in lines)


# Reasons for a missing record, in more detail than the caller gets.
_WHY: Final[dict[str, dict[Reason, str]]] = {
    "shape": {
        Reason.MALFORMED: "not a key of this installation: prefix_env_kid_body",
        Reason.AMBIGUOUS_CREDENTIAL: "holds a comma, as if two keys were joined",
        Reason.MISPLACED_CREDENTIAL: "a key in a form that is not accepted",
        Reason.UNRECOGNIZED_CREDENTIAL: "a token that is not an API key of this installation",
        Reason.MISSING_CREDENTIAL: "not taken for a key: another's credential",
    },
    "checksum": {Reason.MALFORMED: "mistyped or cut off"},
    "tag": {
        Reason.FORGED: "not made with a pepper of this store",
        Reason.UNAVAILABLE: "made with a pepper that keys.peppers does not hold",
    },
    "known": {Reason.UNKNOWN_KEY: "no key has this kid, or was imported with this text"},
}


def _times(before: str, moment: int | None) -> str:
    return f"{before} {rfc3339(moment)}" if moment is not None else "not set"


def _among(given: str, option: str, allowed: list[str]) -> str:
    if not allowed:
        return "any"
    return f"{fields.shown(given) if given else f'no {option}'}; allowed {' '.join(allowed)}"


def _scopes(record: KeyRecord, request: Request) -> str:
    required, held = (" ".join(sorted(s)) or "none" for s in (request.route.scopes, record.scopes))
    return f"required {required}; held {held}"


def _violated(verdict: Verdict) -> list[str]:
    """Return the limits without room for the request, including those that are not enforced."""
    if verdict.standing is None:
        return []
    return [
        verdict.standing.charge.key_limits.names[at] for at in verdict.standing.result().violated
    ]


def _limits(verdict: Verdict) -> str:
    """Return the use of each limit. Nothing was taken from them."""
    standing = verdict.standing
    if standing is None:
        return verdict.fault or "none, or nothing to take from them"
    charge, spent, full = standing.charge, standing.result(), _violated(verdict)
    parts = [f"cost {charge.cost}"]
    rows = zip(
        charge.key_limits.names,
        charge.key_limits.limits,
        standing.used(),
        standing.leased(),
        strict=True,
    )
    for name, limit, used, leased in rows:
        ahead = f", {leased} in advance" if leased else ""
        lack = ", no room" + ("" if limit.enforce else " but not enforced")
        parts.append(f"{name} {used} of {limit.limit}{ahead}{lack if name in full else ''}")
    if not spent.allowed:
        wait = spent.retry_after_ms
        parts.append("never passes" if wait is None else f"passes in {-(-wait // 1000)} s")
    return "; ".join(parts)


# The facts that each check of a record compared.
_FACTS: Final[dict[str, Callable[[KeyRecord, Request], str]]] = {
    "request": lambda _, request: f"{request.method} {fields.shown(request.path)}",
    "shape": lambda record, _: f"kid {record.kid}",
    "checksum": lambda *_: "whole",
    "tag": lambda *_: "made here",
    "known": lambda record, _: f"client {record.client_id}, version {record.version}",
    "secret": lambda record, _: f"the newest is {record.newest_secret.id}",
    "status": lambda record, _: record.status.value,
    "not_before": lambda record, _: _times("from", record.not_before),
    "expiry": lambda record, _: _times("until", record.expires_at),
    "environment": lambda record, request: f"key {record.env}; route {request.route.env or 'any'}",
    "address": lambda record, request: _among(
        request.client_address, "--ip", [str(network) for network in record.allowed_cidrs]
    ),
    "host": lambda record, request: _among(
        request.host.removeprefix(NOWHERE), "--host", list(record.allowed_hosts)
    ),
    "origin": lambda record, request: _among(
        request.header("origin", ""), "--origin", list(record.allowed_origins)
    ),
    "scope": _scopes,
}
