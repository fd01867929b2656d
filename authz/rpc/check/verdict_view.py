"""A Verdict in words: a row for each check, for `authz keys verify` and the admin API."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from authz.core import fields
from authz.core.decision import Deny, Reason
from authz.core.keys.credentials import Imported
from authz.core.limits.amounts import Amounts, Cost, dollars, units_of
from authz.core.limits.key_limits import LimitResult
from authz.core.records import KeyRecord
from authz.core.request import Request
from authz.core.times import rfc3339
from authz.flows.verify import CHECKS, CheckRow, Verdict, VerdictView
from authz.rpc.check.reason_table import TABLE

NOWHERE: Final = "not-given.invalid"  # RFC 2606; a request always has a host
NOT_IMPORTED: Final = "none, imported"  # of a part that an imported key lacks

_OF_OURS: Final = ("checksum", "tag")  # the parts that an imported key lacks


def view_of(verdict: Verdict, request: Request) -> VerdictView:
    """Return the verdict in words. For an allow, reason and code are None and the status is 200."""
    record, decision = verdict.record, verdict.decision
    reason = decision.reason if isinstance(decision, Deny) else None
    return VerdictView(
        rows=tuple(_row(check, verdict, request) for check in CHECKS),
        reason=reason,
        status=TABLE[reason].status if reason else HTTPStatus.OK.value,
        code=TABLE[reason].code if reason else None,
        violated=tuple(_violated(verdict)),
        kid=record.kid if record else None,
        client_id=record.client_id if record else None,
        is_enforced=request.route.enforce,
    )


def _row(check: str, verdict: Verdict, request: Request) -> CheckRow:
    if check not in verdict.results:
        return CheckRow(check, "skipped", None, "")
    reason = verdict.results[check]
    if check in _OF_OURS and isinstance(request.credential, Imported):
        why = NOT_IMPORTED
    elif check in _OF_OURS and request.token is not None:
        why = f"token {request.token.id}"
    elif verdict.record is not None:
        why = _FACTS[check](verdict.record, request) if check in _FACTS else _limits(verdict)
    elif reason is None:
        why = ""
    else:
        why = verdict.fault or _WHY.get(check, {}).get(reason) or TABLE[reason].detail
    return CheckRow(check, "deny" if reason else "ok", reason, why)


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
        Reason.FORGED: "not made with a pepper or a signing key of this store",
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


def _publication(record: KeyRecord, request: Request) -> str:
    key = "publishable" if record.public else "secret"
    return f"key {key}; route {'' if request.route.public else 'not '}marked public"


def _violated(verdict: Verdict) -> list[str]:
    """Return the names of the limits without room for the request, enforced or not.

    Empty if no limits were looked at.
    """
    if verdict.limit_report is None:
        return []
    return [
        verdict.limit_report.charge.key_limits.names[at]
        for at in verdict.limit_report.result().violated
    ]


def _cost(cost: Cost) -> str:
    """Return in words what the request takes: `cost 1`, and the estimates for budgets."""
    words = f"cost {units_of(cost)}"
    if isinstance(cost, Amounts):
        words += f", estimated {cost.tokens} tokens and {dollars(cost.usd or 0)} usd"
    return words


def _limits(verdict: Verdict) -> str:
    """Return in words the cost, the use and leases of each limit, and when the request would pass.

    The time is in seconds, rounded up, and only told if the limits refuse. Without limits, return
    the fault or a text that says so.
    """
    report = verdict.limit_report
    if report is None:
        return verdict.fault or "none, or nothing to take from them"
    charge, spent, full = report.charge, report.result(), _violated(verdict)
    parts = [_cost(charge.cost)]
    rows = zip(
        charge.key_limits.names,
        charge.key_limits.limits,
        report.used(),
        report.leased(),
        strict=True,
    )
    for name, limit, used, leased in rows:
        ahead = f", {leased} in advance" if leased else ""
        lack = ", no room" + ("" if limit.enforce else " but not enforced")
        parts.append(f"{name} {used} of {limit.capacity}{ahead}{lack if name in full else ''}")
    throttle = verdict.record.throttle if verdict.record else None
    if throttle and report.now < throttle.until:
        parts.append(f"rates are lowered to {throttle}")
    if not spent.allowed:
        wait = spent.retry_after_ms
        never = "passes after a refill" if _lacks_credits(spent) else "never passes"
        parts.append(never if wait is None else f"passes in {-(-wait // 1000)} s")
    return "; ".join(parts)


def _lacks_credits(result: LimitResult) -> bool:
    """Return whether all enforced limits without room are credits, so that a refill helps."""
    refusing = (result.key_limits.limits[at] for at in result.violated)
    return all(limit.never_resets for limit in refusing if limit.enforce)


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
    "public": _publication,
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
