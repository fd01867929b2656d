"""The decision on a key over the admin API."""

from typing import Any, Final

from authz.core.decision import Reason
from authz.flows.verify import CHECKS, CheckRow, Question, VerdictView
from authz.remote.calls import Calls
from authz.remote.records import kid_of, known
from authz.rpc.pb.admin.v1 import key_pb2, keys_pb2

Key = key_pb2.Key
SKIPPED: Final = "skipped"


class RemoteVerifier:
    """Asks the server to decide a request as a sidecar would."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def verify(self, question: Question) -> VerdictView:
        """Return the decision. Raises BadInput for a wrong part of the question, Unavailable."""
        request = keys_pb2.VerifyKeyRequest(
            api_key=question.key,
            method=question.method,
            host=question.host,
            path=question.path,
            client_address=question.client_address,
            origin=question.origin,
            required_scopes=sorted(question.scopes),
            cost=question.cost,
            model=question.model,
            public_route=question.public,
        )
        if question.env:
            number: Any = Key.Environment.Value(f"ENVIRONMENT_{question.env.upper()}")
            request.required_env = number
        response = await self._calls.read(self._calls.client.keys.VerifyKey, request)
        return _view(response)


def _view(response: keys_pb2.VerifyKeyResponse) -> VerdictView:
    found = {check.check_name: check for check in response.checks}
    rows = [
        _row(found[name]) if name in found else CheckRow(name, SKIPPED, None, "") for name in CHECKS
    ]
    has_key = response.HasField("key")
    return VerdictView(
        rows=tuple(rows),
        reason=known(Reason, response.reason) if response.reason else None,
        status=response.status_code,
        code=response.code or None,
        violated=tuple(response.violated_limits),
        kid=kid_of(response.key.name) if has_key else None,
        client_id=response.key.client_id if has_key else None,
        is_enforced=response.enforced,
    )


def _row(check: keys_pb2.VerifyKeyResponse.Check) -> CheckRow:
    reason = known(Reason, check.reason) if check.reason else None
    return CheckRow(check.check_name, "ok" if check.passed else "deny", reason, check.detail)
