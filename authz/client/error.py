"""AdminError: a failed call, with the details that the server sent."""

from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

_DETAILS: Final = "grpc-status-details-bin"


class AdminError(Exception):
    """A call failed.

    code: of gRPC. reason: the server's word for programs, such as `KEY_NOT_FOUND`; empty if the
    server did not answer. message: one line for people. fields: the problem of each wrong field of
    the request, by its path; may be empty. retry_seconds: the wait that the server asks for before
    another try; None if it names none.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = ""
        self.fields: dict[str, str] = {}
        self.retry_seconds: float | None = None

    @classmethod
    def of(cls, error: Any) -> "AdminError":
        """Return the AdminError for a grpc.RpcError of a call. It skips unreadable details."""
        found = cls(error.code(), error.details() or "")
        for key, value in error.trailing_metadata() or ():
            if key == _DETAILS:
                found._read(value)
        return found

    def _read(self, raw: bytes) -> None:
        try:
            packed = status_pb2.Status.FromString(raw).details
        except DecodeError:
            return
        info, bad, retry = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.BadRequest(),
            error_details_pb2.RetryInfo(),
        )
        for detail in packed:
            if detail.Unpack(info):
                self.reason = info.reason
            elif detail.Unpack(bad):
                self.fields = {each.field: each.description for each in bad.field_violations}
            elif detail.Unpack(retry):
                self.retry_seconds = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
