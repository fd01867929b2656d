"""The outcome of a request, from the code, the gRPC status and the flags of its log entry.

The meaning of flags is Envoy's:
https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage
"""

from enum import IntEnum
from typing import Final


class Outcome(IntEnum):
    """The outcomes of a request. Each is counted apart; together they are all requests."""

    OK = 0
    CLIENT_ERROR = 1  # 4xx, or a gRPC status that blames the caller
    SERVER_ERROR = 2  # 5xx, another gRPC status, or a backend that failed on the way
    DENIED = 3  # refused by the gate
    ABORTED = 4  # the client left before the response was complete


DENIED_FLAGS: Final = frozenset({"UAEX"})
ABORTED_FLAGS: Final = frozenset({"DC", "DR"})
# The response may begin with 200 and still be cut off by one of these.
UPSTREAM_FLAGS: Final = frozenset(
    {
        *("UH", "UF", "UO", "LH", "UT", "LR", "UR", "UC", "UPE", "UMSDR", "URX"),
        *("NC", "NFCF", "DF", "OM", "DT", "SI"),
    }
)
# CANCELLED, INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED, RESOURCE_EXHAUSTED,
# FAILED_PRECONDITION, ABORTED, OUT_OF_RANGE, UNAUTHENTICATED
GRPC_CLIENT_ERRORS: Final = frozenset({1, 3, 5, 6, 7, 8, 9, 10, 11, 16})
SWITCHING_PROTOCOLS: Final = 101
# The backend may have worked all the same: it was too slow, or the client did not wait.
WORKED_FLAGS: Final = ABORTED_FLAGS | {"UT", "DT", "SI", "UMSDR"}
WORKED_CODES: Final = frozenset({0, 408, 499, 504})
WORKED_GRPC: Final = frozenset({1, 4})  # CANCELLED, DEADLINE_EXCEEDED


def outcome(code: int, grpc: int | None, flags: frozenset[str]) -> Outcome:
    """Return the outcome of a response.

    code: of HTTP, 0 if none was sent; then the request is ABORTED. grpc: None if the response had
    no gRPC status. A refusal by the gate (UAEX) comes first. An upgraded connection (101) is OK:
    Envoy flags its end as UC or DC even if both sides closed it in order.
    """
    if flags & DENIED_FLAGS:
        return Outcome.DENIED
    if code == SWITCHING_PROTOCOLS:
        return Outcome.OK
    if flags & ABORTED_FLAGS or code == 0:
        return Outcome.ABORTED
    if code >= 500 or flags & UPSTREAM_FLAGS:  # noqa: PLR2004  HTTP
        return Outcome.SERVER_ERROR
    if code >= 400:  # noqa: PLR2004  HTTP
        return Outcome.CLIENT_ERROR
    if grpc:
        return Outcome.CLIENT_ERROR if grpc in GRPC_CLIENT_ERRORS else Outcome.SERVER_ERROR
    return Outcome.OK


def used_nothing(code: int, grpc: int | None, result: Outcome, flags: frozenset[str]) -> bool:
    """Return whether a response that reports no tokens cost nothing.

    True for an error of the backend or of the proxy: the request was refused, or never reached the
    backend. False if the backend may have worked on it: the response had begun, the client left, or
    it took too long. A client can cause that: it asks for a long answer, or names a short deadline.
    """
    if flags & WORKED_FLAGS or code in WORKED_CODES or grpc in WORKED_GRPC:
        return False
    is_grpc_error = result in {Outcome.CLIENT_ERROR, Outcome.SERVER_ERROR} and not flags
    return code >= 400 or is_grpc_error  # noqa: PLR2004  HTTP
