"""Problems: the errors of the admin API as `application/problem+json` (RFC 9457).

The member `code` has the code of gRPC, `reason` the fixed word of the ErrorInfo, and `errors` the
fields of a BadRequest.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from math import ceil
from typing import Any, Final

from google.protobuf.message import Message
from google.rpc import error_details_pb2

from authz.core.http_exchange import HttpResponse
from authz.rpc.admin.api_error import ApiError, Code

CONTENT_TYPE: Final = "application/problem+json"
CLIENT_CLOSED_REQUEST: Final = 499  # of no RFC; google.rpc.Code names it for CANCELLED

# As google/rpc/code.proto says.
STATUS: Final[Mapping[Code, int]] = {
    Code.CANCELLED: CLIENT_CLOSED_REQUEST,
    Code.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    Code.FAILED_PRECONDITION: HTTPStatus.BAD_REQUEST,
    Code.OUT_OF_RANGE: HTTPStatus.BAD_REQUEST,
    Code.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    Code.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    Code.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.ALREADY_EXISTS: HTTPStatus.CONFLICT,
    Code.ABORTED: HTTPStatus.CONFLICT,
    Code.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    Code.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    Code.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
}


def problem(error: ApiError, *, is_conditional: bool = False) -> HttpResponse:
    """Return the response for an error, with the status of STATUS, else 500.

    is_conditional: the request had `If-Match`, so ABORTED is 412 (RFC 9110, section 13.1.1). A
    RetryInfo gives `retry-after` in seconds, rounded up, at least 1.
    """
    status = STATUS.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR)
    if error.code is Code.ABORTED and is_conditional:
        status = HTTPStatus.PRECONDITION_FAILED
    headers = {}
    retry = _detail(error, error_details_pb2.RetryInfo)
    if retry is not None:
        headers["retry-after"] = str(max(1, ceil(retry.retry_delay.ToTimedelta().total_seconds())))
    if status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = 'Bearer realm="authz"'
    return _response(status, members(error, status), headers)


def members(error: ApiError, status: int) -> dict[str, Any]:
    """Return the members of a problem. status: of HTTP. `errors` is there only for wrong fields."""
    found: dict[str, Any] = {
        "type": "about:blank",
        "title": _title(status),
        "status": int(status),
        "code": error.code.name,
        "reason": error.reason,
        "detail": error.message,
    }
    bad = _detail(error, error_details_pb2.BadRequest)
    if bad is not None:
        found["errors"] = [
            {"field": each.field, "description": each.description} for each in bad.field_violations
        ]
    return found


def status_problem(
    status: HTTPStatus, reason: str, detail: str, headers: Mapping[str, str] | None = None
) -> HttpResponse:
    """Return a problem of HTTP alone, such as a path that no method has.

    The member `code` is NOT_FOUND for 404, else INVALID_ARGUMENT.
    """
    code = Code.NOT_FOUND if status == HTTPStatus.NOT_FOUND else Code.INVALID_ARGUMENT
    found = members(ApiError(code, reason, detail), status)
    return _response(status, found, headers or {})


def _response(status: int, found: Mapping[str, Any], headers: Mapping[str, str]) -> HttpResponse:
    body = json.dumps(found).encode()
    return HttpResponse(int(status), {"content-type": CONTENT_TYPE, **headers}, body)


def _title(status: int) -> str:
    if status == CLIENT_CLOSED_REQUEST:
        return "Client Closed Request"
    return HTTPStatus(status).phrase


def _detail(error: ApiError, kind: type[Message]) -> Any:
    return next((each for each in error.details if isinstance(each, kind)), None)
