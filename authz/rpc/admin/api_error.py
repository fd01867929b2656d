"""ApiError: the failure of a call, with the standard error details of google.rpc.

Every error has one ErrorInfo (AIP-193): `reason` is a fixed word for programs, the domain is
`authz`. Texts for callers are ours: they hold no address of the store and no text of a library.
"""

from collections.abc import Sequence
from typing import Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from authz.core.errors import (
    BadInput,
    Conflict,
    Deleted,
    Fault,
    Forbidden,
    Frozen,
    NotFound,
    OutcomeUnknown,
    UnknownPlan,
    Unreadable,
)

DOMAIN: Final = "authz"
RETRY_SECONDS: Final = 1
STATUS_DETAILS: Final = "grpc-status-details-bin"  # of trailing metadata, a google.rpc.Status

Code = grpc.StatusCode

# Fields that the core names as the command line does.
_PATHS: Final = {
    "expires-in": "key.expire_time",
    "expires-at": "key.expire_time",
    "throttle": "key.throttle",
    "--origin": "key.allowed_origins",
    "--limit": "key.limits",
    "--to": "deliver_to",
    "scopes": "key.scopes",
    "cursor": "page_token",
}


class ApiError(Exception):
    """A call failed. code: of gRPC. message: one line for the caller. reason: UPPER_SNAKE_CASE.

    details: first an ErrorInfo with the reason, then those given, then with `retry` a RetryInfo.
    retry: seconds after which the caller may try again.
    """

    def __init__(
        self, code: Code, reason: str, message: str, *details: Message, retry: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN)
        self.details: tuple[Message, ...] = (info, *details)
        if retry is not None:
            delay = Duration()
            delay.FromNanoseconds(round(retry * 1e9))
            self.details += (error_details_pb2.RetryInfo(retry_delay=delay),)

    def status(self) -> status_pb2.Status:
        """Return code, message and details as a google.rpc.Status."""
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        for detail in self.details:
            status.details.add().Pack(detail)
        return status


def invalid(field: str, problem: str) -> ApiError:
    """Return INVALID_ARGUMENT about one field, named by its path in the request."""
    return invalid_fields([(field, problem)])


def invalid_fields(problems: Sequence[tuple[str, str]]) -> ApiError:
    """Return INVALID_ARGUMENT about some fields: their paths and problems, at least one."""
    violations = [
        error_details_pb2.BadRequest.FieldViolation(field=field, description=problem)
        for field, problem in problems
    ]
    field, problem = problems[0]
    detail = error_details_pb2.BadRequest(field_violations=violations)
    return ApiError(Code.INVALID_ARGUMENT, "INVALID_FIELD", f"{field}: {problem}", detail)


def refused(why: str) -> ApiError:
    """Return FAILED_PRECONDITION: the state of the key does not permit the change."""
    return ApiError(Code.FAILED_PRECONDITION, "STATE_FORBIDS", why)


def forbidden(why: str) -> ApiError:
    """Return PERMISSION_DENIED."""
    return ApiError(Code.PERMISSION_DENIED, "ACTION_NOT_PERMITTED", why)


STORE: Final = "the store cannot be used now; try again"
FROZEN: Final = "the store takes no changes now, because it is moving to more partitions; try again"


def unavailable(message: str = STORE) -> ApiError:
    """Return UNAVAILABLE: the store cannot be used now. The caller may try again after 1 s."""
    return ApiError(Code.UNAVAILABLE, "STORE_UNAVAILABLE", message, retry=RETRY_SECONDS)


_DESCRIBED: Final[dict[type[Fault], tuple[Code, str, str]]] = {
    NotFound: (Code.NOT_FOUND, "KEY_NOT_FOUND", ""),
    Forbidden: (Code.PERMISSION_DENIED, "ACTION_NOT_PERMITTED", ""),
    Conflict: (Code.ABORTED, "VERSION_CONFLICT", "; read the key again"),
    Deleted: (Code.FAILED_PRECONDITION, "KEY_DELETED", ""),
    UnknownPlan: (Code.FAILED_PRECONDITION, "PLAN_UNKNOWN", ""),
}
"""Faults whose texts are for the caller: code, reason, and words to add."""


def of_fault(fault: Fault) -> ApiError:
    """Return the error for a fault of a flow. Faults without a code of their own are UNAVAILABLE.

    It holds the fault's text only for BadInput and the classes of _DESCRIBED.
    """
    if described := _DESCRIBED.get(type(fault)):
        code, reason, more = described
        return ApiError(code, reason, f"{fault}{more}")
    match fault:
        case BadInput():
            return invalid(_PATHS.get(fault.field, fault.field), fault.problem)
        case Unreadable():
            message = "a record in the store cannot be read; `authz doctor` tells more"
            return ApiError(Code.DATA_LOSS, "RECORD_UNREADABLE", message)
        case OutcomeUnknown():
            message = "the store did not confirm the change; repeat the request"
            return ApiError(Code.UNAVAILABLE, "OUTCOME_UNKNOWN", message, retry=RETRY_SECONDS)
        case Frozen():
            return unavailable(FROZEN)
    return unavailable()
