"""Changes of one key: conditions, author, idempotence, and the wait for the sidecars."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Final

from authz.core.changes import Author, Refused, Unchanged
from authz.core.errors import BadInput, Unavailable
from authz.core.fields import shown
from authz.core.records import KeyRecord
from authz.core.roles import Action
from authz.flows.admin_flows import AdminFlows
from authz.flows.conditions import Conditions
from authz.flows.lifecycle import Changed, Result
from authz.flows.repeatable import Attempt, Repeatable
from authz.rpc.admin.api_error import refused
from authz.rpc.admin.call_context import CallContext
from authz.rpc.admin.guards import guard
from authz.rpc.admin.key_messages import Waited, outcome_message
from authz.rpc.pb.admin.v1 import key_pb2, keys_pb2, me_pb2, tokens_pb2

MIN_REQUEST_ID: Final = 8
MAX_REQUEST_ID: Final = 64
REPLY_SECONDS: Final = 0.1  # of the caller's deadline, left for the response
_ID_CHARACTERS: Final = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
)


@dataclass(frozen=True, slots=True)
class Made:
    """A change that was made, or rehearsed. key_text: the key with its new secret, or empty."""

    result: Changed | Unchanged
    outcome: key_pb2.ChangeOutcome
    key_text: str = field(default="", repr=False)


Repeating = (
    keys_pb2.CreateKeyRequest
    | keys_pb2.RotateKeyRequest
    | me_pb2.RotateMyKeyRequest
    | tokens_pb2.RotateSigningKeyRequest
)
"""A request message with a request id."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """A rotation that a request asks for. overlap_ms: for which the old secret still works."""

    request: Repeating
    overlap_ms: int
    note: str = ""
    wait_seconds: float = 0.0

    @property
    def request_id(self) -> str:
        """The id of the request; empty if a repetition is another rotation."""
        return self.request.request_id


class Changing:
    """Makes changes for calls of the API."""

    def __init__(self, flows: AdminFlows) -> None:
        self._flows = flows

    def author(self, context: CallContext, note: str, request_id: str = "") -> Author:
        """Return the author of a call's change. It has `request_id`, or if empty the call id."""
        return self._flows.lifecycle.author(
            context.caller.actor,
            note,
            source=context.source,
            request_id=request_id or context.call_id,
        )

    async def begin(
        self, message: Repeating, author: Author, record: KeyRecord | None = None
    ) -> tuple[Attempt | None, Author]:
        """Return the attempt of a request with a request id, and the author with its change id.

        Without a request id, return None and `author`. The store remembers the request. record: of
        the key that gets another secret. Raises BadInput for a bad request id, or one that was used
        for another request, Unreadable and Unavailable as RepeatableRequests.begin.
        """
        request_id = message.request_id
        if not request_id:
            return None, author
        if not (
            MIN_REQUEST_ID <= len(request_id) <= MAX_REQUEST_ID
            and _ID_CHARACTERS.issuperset(request_id)
        ):
            raise BadInput(
                "request_id", f"{shown(request_id)}: 8 to 64 of A-Z a-z 0-9 . _ -, such as a UUID"
            )
        content = message.SerializeToString(deterministic=True)
        newest = int(record.last.id) if record else 0
        return await self._flows.requests.begin(
            Repeatable(message.DESCRIPTOR.name, request_id, content), author, newest
        )

    def conditions(
        self, context: CallContext, action: Action, version: int | None, *, dry_run: bool
    ) -> Conditions:
        """Return the conditions of a change by this caller. version: None: any."""
        return Conditions(guard(context.caller, action), version, dry_run)

    async def carry_out(
        self,
        context: CallContext,
        change: Callable[[], Awaitable[Result]],
        wait_seconds: float,
        *,
        dry_run: bool,
    ) -> Made:
        """Call `change`, wait for the sidecars, and return the effect.

        dry_run: `change` only rehearses; then do not wait, and the outcome is not `changed`.
        wait_seconds: at most, and not after the deadline of the call; 0: do not wait. A failed wait
        is told in the outcome, because the change is made. `key_text` stays empty. Raises ApiError
        if the change is refused, and the faults of `change`.
        """
        result = await change()
        if isinstance(result, Refused):
            raise refused(result.why)
        waited = None
        if wait_seconds and not dry_run:
            waited = await self._wait(context, result.record, wait_seconds)
        return Made(result, outcome_message(result, made=not dry_run, confirmed=waited))

    async def rotate(
        self,
        context: CallContext,
        kid: str,
        wanted: "Rotation",
        conditions: Conditions,
    ) -> Made:
        """Give a key a new secret, once for each request id, and return the key's new text.

        In a dry run the text is empty and nothing is stored. The first try of a request checks the
        version of `conditions`, a repetition does not. Raises ApiError if the rotation is refused,
        NotFound, Forbidden and Conflict by `conditions`, and as `begin`.
        """
        lifecycle = self._flows.lifecycle
        record = await lifecycle.show(kid)
        conditions.guard(record, None)
        author = self.author(context, wanted.note, wanted.request_id)
        attempt = None
        if not conditions.dry_run:
            attempt, author = await self.begin(wanted.request, author, record)
            if attempt is not None and attempt.is_repeated:
                # The first try may have changed the version that its etag asked for.
                conditions = replace(conditions, version=None)
        made = await self.carry_out(
            context,
            lambda: lifecycle.rotate(kid, wanted.overlap_ms, author, attempt, conditions),
            wanted.wait_seconds,
            dry_run=conditions.dry_run,
        )
        text = made.result.key_text if isinstance(made.result, Changed) else None
        return replace(made, key_text=text or "")

    async def _wait(self, context: CallContext, record: KeyRecord, seconds: float) -> Waited:
        flows = self._flows
        if context.deadline is not None:
            left = context.deadline - flows.clock.monotonic() - REPLY_SECONDS
            seconds = min(seconds, max(0.0, left))
        try:
            return await flows.wait.for_key(record, seconds)
        except Unavailable:
            return "the store could not be read while waiting for the sidecars"
