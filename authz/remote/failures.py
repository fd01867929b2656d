"""Failures of the admin API as the faults that flows over the store raise."""

from typing import Final

import grpc

from authz.client import AdminError
from authz.core.errors import (
    BadInput,
    Conflict,
    Fault,
    Forbidden,
    NoSuchMethod,
    NotFound,
    OutcomeUnknown,
    Unavailable,
    UnknownPlan,
    Unreadable,
)

Code = grpc.StatusCode

# The option of a command for each field of a request.
_OPTIONS: Final = {
    "display_name": "--name",
    "client_id": "--client",
    "project_id": "--project",
    "tenant_id": "--tenant",
    "plan": "--plan",
    "limits": "--limit",
    "scopes": "scopes",
    "expire_time": "expires-at",
    "ttl": "expires-in",
    "not_before_time": "--not-before",
    "allowed_cidrs": "--cidr",
    "allowed_hosts": "--host",
    "allowed_origins": "--origin",
    "metadata": "--metadata",
    "outage_grace": "--outage-grace",
    "throttle": "--throttle",
    "credits": "--credits",
    "deliver_to": "--to",
    "page_token": "--cursor",
    "wait_time": "--timeout",
    "note": "--note",
    "since_time": "--since",
    "until_time": "--until",
    "group_by": "--by",
    "secret": "--secret",
    "event_type": "--type",
    "event_ids": "ID",
    "within": "--within",
    "filter": "unused-for",  # of the filters that we write, the server refuses no other condition
}
_PARTS: Final = ("update.", "rotate.", "key.")
_FAULTS: Final[dict[str, type[Fault]]] = {
    "KEY_NOT_FOUND": NotFound,
    "SIGNING_KEY_NOT_FOUND": NotFound,
    "SINK_NOT_FOUND": NotFound,
    "ACTION_NOT_PERMITTED": Forbidden,
    "VERSION_CONFLICT": Conflict,
    "PLAN_UNKNOWN": UnknownPlan,
    "RECORD_UNREADABLE": Unreadable,
    "OUTCOME_UNKNOWN": OutcomeUnknown,
}
"""The fault for each reason of the server, with the text of the server."""


class StateForbids(Fault):
    """The state of the key does not permit the change."""


def fault_of(error: AdminError, address: str, *, may_be_made: bool = False) -> Fault:
    """Return the fault for a failed call.

    may_be_made: the call makes a change, so without an answer it is unknown whether it was made.
    """
    if fault := _FAULTS.get(error.reason):
        return fault(error.message)
    if error.reason in {"STATE_FORBIDS", "KEY_DELETED"}:
        return StateForbids(error.message)
    if error.reason == "INVALID_FIELD" and error.fields:
        field, problem = next(iter(error.fields.items()))
        return BadInput(option_of(field), problem)
    if error.code is Code.UNAUTHENTICATED:
        return Unavailable(f"the admin API at {address} refuses the credential: {error.message}")
    if error.reason == "RATE_LIMITED":
        after = "later" if error.retry_seconds is None else f"in {error.retry_seconds:.1f} s"
        return Unavailable(f"the admin API at {address}: {error.message}; try again {after}")
    if error.reason:
        return Unavailable(f"the admin API at {address}: {error.message}")
    if error.code is Code.UNIMPLEMENTED:
        return NoSuchMethod(f"the admin API at {address} has another version, without this method")
    told = f"the admin API at {address} does not answer: {error.message or error.code.name}"
    return OutcomeUnknown(told) if may_be_made else Unavailable(told)


def option_of(field: str) -> str:
    """Return the option of commands for the path of a field in a request, else the path."""
    bare = field
    for part in _PARTS:
        bare = bare.removeprefix(part)
    return _OPTIONS.get(bare, field)
