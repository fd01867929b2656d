"""Show a verdict of `authz keys verify`: a row for each check, and the decision."""

from typing import Any

from authz.cli.terminal import escaped
from authz.flows.verify import VerdictView


def as_document(view: VerdictView, kid: str) -> dict[str, Any]:
    """Return the answer of --json. kid: that a malformed key names, or empty."""
    return {
        "decision": "deny" if view.reason else "allow",
        "reason": view.reason.value if view.reason else None,
        "status": view.status,
        "code": view.code,
        "violated": list(view.violated),
        "kid": view.kid or kid or None,
        "client_id": view.client_id,
        "checks": [
            {
                "check": row.check,
                "result": row.result,
                "reason": row.reason.value if row.reason else None,
                "why": row.why,
            }
            for row in view.rows
        ],
    }


def as_lines(view: VerdictView) -> list[str]:
    """Return the lines of the answer: one for each check, and last the decision.

    The decision says if a denial is not enforced on this route, or if an allow is anonymous.
    """
    marks = {"ok": "ok", "deny": "DENY", "skipped": "-"}
    lines = [f"{row.check:<12}  {marks[row.result]:<4}  {escaped(row.why)}" for row in view.rows]
    if view.reason:
        told = f"the caller is told {view.status} {view.code}"
        if not view.is_enforced:
            told = f"not enforced: the backend is told would-deny {view.code}"
        lines.append(f"deny: {view.reason.value}; {told}")
    elif view.kid is None:
        lines.append("allow: anonymous; the text on stdin is not one of our keys")
    else:
        lines.append(f"allow: {view.kid} of client {view.client_id}")
    return [line.rstrip() for line in lines]
