"""Failures of the admin API become the faults and the exit codes of the store."""

import grpc
import pytest

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
from authz.remote.failures import StateForbids, fault_of, option_of

Code = grpc.StatusCode
PLACE = "127.0.0.1:9193"


def failed(code: grpc.StatusCode, reason: str = "", message: str = "m") -> AdminError:
    """Return the error of a call."""
    error = AdminError(code, message)
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("code", "reason", "kind", "words"),
    [
        (Code.NOT_FOUND, "KEY_NOT_FOUND", NotFound, "m"),
        (Code.PERMISSION_DENIED, "ACTION_NOT_PERMITTED", Forbidden, "m"),
        (Code.ABORTED, "VERSION_CONFLICT", Conflict, "m"),
        (Code.FAILED_PRECONDITION, "STATE_FORBIDS", StateForbids, "m"),
        (Code.FAILED_PRECONDITION, "KEY_DELETED", StateForbids, "m"),
        (Code.FAILED_PRECONDITION, "PLAN_UNKNOWN", UnknownPlan, "m"),
        (Code.DATA_LOSS, "RECORD_UNREADABLE", Unreadable, "m"),
        (Code.UNAVAILABLE, "OUTCOME_UNKNOWN", OutcomeUnknown, "m"),
        (Code.UNAVAILABLE, "STORE_UNAVAILABLE", Unavailable, f"the admin API at {PLACE}: m"),
        (Code.UNAUTHENTICATED, "UNAUTHENTICATED", Unavailable, "refuses the credential: m"),
        (Code.UNIMPLEMENTED, "", NoSuchMethod, "another version"),
        (Code.UNAVAILABLE, "", Unavailable, "does not answer: m"),
        (Code.DEADLINE_EXCEEDED, "", Unavailable, "does not answer: m"),
    ],
)
def test_kinds(code: grpc.StatusCode, reason: str, kind: type[Fault], words: str) -> None:
    """Each reason has its fault, and the place is told where the server is meant."""
    fault = fault_of(failed(code, reason), PLACE)
    assert type(fault) is kind
    assert words in str(fault)


def test_a_change_without_an_answer() -> None:
    """If the server does not answer a change, it may have been made. A refusal was not made."""
    assert type(fault_of(failed(Code.UNAVAILABLE), PLACE, may_be_made=True)) is OutcomeUnknown
    refused = failed(Code.UNAVAILABLE, "STORE_UNAVAILABLE")
    assert type(fault_of(refused, PLACE, may_be_made=True)) is Unavailable


def test_a_rate_limit() -> None:
    """The time until another try is told."""
    error = failed(Code.RESOURCE_EXHAUSTED, "RATE_LIMITED", "too many calls")
    error.retry_seconds = 1.5
    assert str(fault_of(error, PLACE)).endswith("too many calls; try again in 1.5 s")


def test_wrong_fields() -> None:
    """A wrong field is named by its option, and one without an option by its path."""
    error = failed(Code.INVALID_ARGUMENT, "INVALID_FIELD")
    error.fields = {"key.client_id": "is wrong", "note": "is wrong, too"}
    fault = fault_of(error, PLACE)
    assert isinstance(fault, BadInput)
    assert (fault.field, fault.problem) == ("--client", "is wrong")
    assert option_of("update.key.plan") == "--plan"
    assert option_of("wait_time") == "--timeout"
    assert option_of("something_new") == "something_new"
