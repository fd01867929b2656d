"""RemoteEditor: makes and changes one key over the admin API."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from authz.core.changes import Refused
from authz.core.delivery import Arrival, SecretDelivery
from authz.core.edits import Delete, Edit, Refund, ResetLimits, is_relative
from authz.core.errors import BadInput, Conflict, OutcomeUnknown, Unavailable
from authz.core.new_keys import KeySpec
from authz.core.records import KeyRecord, Status
from authz.core.sidecars import Confirmation
from authz.flows.by import By
from authz.flows.command_ports import Effect
from authz.flows.lifecycle import Changed, Result
from authz.remote.calls import Calls
from authz.remote.failures import StateForbids
from authz.remote.reading import read_record
from authz.remote.records import confirmation_of, new_text_of, record_of, result_of
from authz.remote.requests import key_of, one_change
from authz.rpc.admin.values import duration
from authz.rpc.pb.admin.v1 import admin_pb2, key_pb2, keys_pb2

LEAST_WAIT: Final = 0.001  # seconds; 0 means not to wait
NO_ANSWER: Final = "the admin API did not say whether the sidecars confirmed"


class RemoteEditor:
    """KeyEditor over the admin API. The server knows the author by the credential."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def issue(self, spec: KeySpec, by: By) -> Changed:
        """Issue a key, and return its record and its text.

        A publishable key is asked for only if the server makes them: an older one would make a
        secret key. Else raises Unavailable.
        """
        if spec.public:
            ask = admin_pb2.GetInstallationRequest()
            found = await self._calls.read(self._calls.client.admin.GetInstallation, ask)
            if not found.public_key_prefix:
                raise Unavailable("the admin API makes no publishable keys: it is older than this")
        request = keys_pb2.CreateKeyRequest(key=key_of(spec), note=by.note, canary=spec.is_canary)
        try:
            response = await self._calls.change(self._calls.client.keys.CreateKey, request)
        except BadInput as cause:  # of a new key, the lifetime is wrong rather than its end
            field = "expires-in" if cause.field == "expires-at" else cause.field
            raise BadInput(field, cause.problem) from None
        replicas = response.outcome.replicas if response.outcome.HasField("replicas") else None
        return Changed(record_of(response.key), new_text_of(response.api_key), replicas)

    async def change(
        self, kid: str, edit: Edit, by: By, wait_seconds: float | None = None
    ) -> Effect:
        """Make a change. The server waits at most `wait_seconds` for the sidecars."""
        needs_record = isinstance(edit, Delete) or is_relative(edit)
        before = await read_record(self._calls, kid) if needs_record else None
        return await self.change_from(before, kid, edit, by, wait_seconds)

    async def change_from(
        self,
        before: KeyRecord | None,
        kid: str,
        edit: Edit,
        by: By,
        wait_seconds: float | None = None,
    ) -> Effect:
        """Make a change of this record; None: of any.

        A change that must not be made twice is made on this version alone: gRPC may send a request
        again.
        """
        is_once = is_relative(edit)
        etag = str(before.version) if before and is_once else ""
        try:
            return await self._send(before, one_change(kid, edit, etag), edit, by, wait_seconds)
        except Conflict:
            if is_once:
                why = f"{kid} was changed by others, or the reply to this change was lost"
                raise OutcomeUnknown(why) from None
            raise Unavailable(f"{kid} is being changed by others without a pause") from None

    async def change_exactly(self, before: KeyRecord, edit: Edit, by: By) -> Result:
        """Make a change of this very record. Raises Conflict if the key has another version."""
        request = one_change(before.kid, edit, str(before.version))
        return (await self._send(before, request, edit, by, None)).result

    async def _send(
        self, before: KeyRecord | None, request: Any, edit: Edit, by: By, wait_seconds: float | None
    ) -> Effect:
        request.note = by.note
        if wait_seconds is not None:
            wait = max(wait_seconds, LEAST_WAIT)
            request.wait_time.CopyFrom(duration(round(wait * 1000)))
        try:
            method = self._method(request)
            response = await self._calls.change(method, request, wait_seconds or 0)
        except StateForbids as cause:
            return Effect(Refused(str(cause)))
        return _effect(response, edit, before, is_waited=wait_seconds is not None)

    def _method(self, request: Any) -> Callable[..., Any]:
        name = type(request).__name__.removesuffix("Request")
        client = self._calls.client
        service = client.limits if name.endswith("KeyLimits") else client.keys
        method: Callable[..., Any] = getattr(service, name)
        return method


def _effect(response: Any, edit: Edit, before: KeyRecord | None, *, is_waited: bool) -> Effect:
    result: Result
    if isinstance(edit, Delete) and before is not None:
        result = Changed(replace(before, status=Status.REVOKED, version=response.version))
        given = response.confirmation if response.HasField("confirmation") else None
    else:
        key_text = (
            "" if isinstance(edit, ResetLimits | Refund) else getattr(response, "api_key", "")
        )
        result = result_of(response.key, response.outcome, key_text)
        has_answer = response.outcome.HasField("confirmation")
        given = response.outcome.confirmation if has_answer else None
    if not is_waited:
        return Effect(result, delivery=_delivery(response, result))
    return Effect(result, *waited(given), delivery=_delivery(response, result))


def _delivery(response: Any, result: Result) -> SecretDelivery | None:
    """Return the result of a rotation with a target; None of another change."""
    word = getattr(response, "delivery", "")
    if not word or isinstance(result, Refused):
        return None
    known = {one.value: one for one in Arrival}
    return SecretDelivery(
        result.record, known.get(word, Arrival.PENDING), response.delivery_problem
    )


def waited(given: key_pb2.Confirmation | None) -> tuple[Confirmation | None, str]:
    """Return the answer of the sidecars; else None, and why there is none."""
    if given is None:
        return None, NO_ANSWER
    return (None, given.error) if given.error else (confirmation_of(given), "")
