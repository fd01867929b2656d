"""The Keys service, except for methods about many keys, verification and history."""

from typing import Final

from authz.core.access import may
from authz.core.changes import Refused
from authz.core.delivery import SecretDelivery
from authz.core.errors import BadInput, Forbidden
from authz.core.fields import shown
from authz.core.records import KeyRecord, RevocationReason
from authz.core.roles import Action
from authz.flows.admin_flows import AdminFlows
from authz.flows.conditions import Conditions
from authz.flows.lifecycle import Changed, Result
from authz.rpc.admin.call_context import CallContext
from authz.rpc.admin.changing import Changing, Rotation
from authz.rpc.admin.guards import require_visible
from authz.rpc.admin.key_fields import key_spec, planned_update, refuse_other_text
from authz.rpc.admin.key_messages import key_message, outcome_message
from authz.rpc.admin.values import duration_ms, kid_of, note_of, version_of, wait_seconds, word_of
from authz.rpc.pb.admin.v1 import key_pb2, keys_pb2

OVERLAP_MS: Final = 7 * 86_400_000
_REASONS: Final = {number: name for name, number in key_pb2.Key.RevocationReason.items()}

_Turn = (
    keys_pb2.RetireKeySecretRequest
    | keys_pb2.RollBackKeyRequest
    | keys_pb2.RevokeKeyRequest
    | keys_pb2.DisableKeyRequest
    | keys_pb2.EnableKeyRequest
)


class KeysService:
    """Methods of authz.admin.v1.Keys about one key.

    With `validate_only` they change nothing and return the key as it would be. They raise BadInput
    for a wrong field, NotFound also for a key that the caller may not see, Forbidden if it may not
    make the change, Conflict for another etag, and ApiError if the state of the key forbids it.
    """

    def __init__(self, flows: AdminFlows) -> None:
        self._flows = flows
        self._changing = Changing(flows)

    async def create_key(
        self, request: keys_pb2.CreateKeyRequest, context: CallContext
    ) -> keys_pb2.CreateKeyResponse:
        """Issue a key, once for each request id, and return its text in `api_key`.

        Its tenant and project have to be those of a binding of the caller, else Forbidden. With
        `validate_only` the key has no name, etag, secret and text.
        """
        spec = key_spec("key", request.key, self._flows.plans, is_canary=request.canary)
        author = self._changing.author(context, note_of(request.note), request.request_id)
        caller = context.caller
        if not may(caller, Action.CREATE, spec.tenant_id, spec.project_id, scopes=spec.scopes):
            raise Forbidden("you may not issue a key of this tenant, project and scopes")
        if request.validate_only:
            key = key_message(self._flows.lifecycle.rehearse_issue(spec, author))
            for field in ("name", "etag", "secrets"):
                key.ClearField(field)
            return keys_pb2.CreateKeyResponse(key=key, outcome=key_pb2.ChangeOutcome())
        attempt, author = await self._changing.begin(request, author)
        changed = await self._flows.lifecycle.issue(spec, author, attempt)
        return keys_pb2.CreateKeyResponse(
            key=key_message(changed.record),
            api_key=changed.key_text or "",
            outcome=outcome_message(changed),
        )

    async def get_key(
        self, request: keys_pb2.GetKeyRequest, context: CallContext
    ) -> keys_pb2.GetKeyResponse:
        """Return one key, without its text."""
        record = await self._find(kid_of("name", request.name), context)
        return keys_pb2.GetKeyResponse(key=key_message(record))

    async def update_key(
        self, request: keys_pb2.UpdateKeyRequest, context: CallContext
    ) -> keys_pb2.UpdateKeyResponse:
        """Change the fields of a key that the mask names, without a mask those with a value.

        `add_scopes` and `remove_scopes` change its scopes.
        """
        flows, kid = self._flows, kid_of("key.name", request.key.name)
        refuse_other_text(request.key, await self._find(kid, context))
        wanted = planned_update(request, flows.plans, flows.clock.wall_ms())
        author = self._changing.author(context, note_of(request.note))
        dry_run = request.validate_only
        version = version_of(request.key.etag)
        conditions = self._changing.conditions(context, Action.UPDATE, version, dry_run=dry_run)

        async def change() -> Result:
            return await flows.lifecycle.update(
                kid,
                wanted.fields,
                author,
                add_scopes=wanted.add_scopes,
                remove_scopes=wanted.remove_scopes,
                credits_change=wanted.credits_change,
                conditions=conditions,
            )

        wait = wait_seconds(request.wait_time)
        made = await self._changing.carry_out(context, change, wait, dry_run=dry_run)
        return keys_pb2.UpdateKeyResponse(key=key_message(made.result.record), outcome=made.outcome)

    async def rotate_key(
        self, request: keys_pb2.RotateKeyRequest, context: CallContext
    ) -> keys_pb2.RotateKeyResponse:
        """Give a key a new secret, once for each request id, and return its text in `api_key`.

        The old secret works for `overlap`, without it for 7 days.
        """
        kid = kid_of("name", request.name)
        overlap = request.overlap if request.HasField("overlap") else None
        wanted = Rotation(
            request,
            OVERLAP_MS if overlap is None else duration_ms("overlap", overlap),
            note_of(request.note),
            wait_seconds(request.wait_time),
        )
        version, dry_run = version_of(request.etag), request.validate_only
        conditions = self._changing.conditions(context, Action.ROTATE, version, dry_run=dry_run)
        if request.deliver_to:
            return await self._deliver(request.deliver_to, context, kid, wanted, conditions)
        made = await self._changing.rotate(context, kid, wanted, conditions)
        return keys_pb2.RotateKeyResponse(
            key=key_message(made.result.record), api_key=made.key_text, outcome=made.outcome
        )

    async def _deliver(
        self, to: str, context: CallContext, kid: str, wanted: Rotation, conditions: Conditions
    ) -> keys_pb2.RotateKeyResponse:
        author = self._changing.author(context, wanted.note, wanted.request.request_id)
        found: list[SecretDelivery] = []

        async def change() -> Result:
            done = await self._flows.deliveries.rotate(
                *(kid, to, wanted.overlap_ms, author, conditions)
            )
            if isinstance(done, Refused):
                return done
            found.append(done)
            return Changed(done.record)

        made = await self._changing.carry_out(
            context, change, wanted.wait_seconds, dry_run=conditions.dry_run
        )
        (done,) = found
        return keys_pb2.RotateKeyResponse(
            key=key_message(made.result.record),
            outcome=made.outcome,
            delivery="" if conditions.dry_run else done.arrival.value,
            delivery_problem=done.why,
        )

    async def retire_key_secret(
        self, request: keys_pb2.RetireKeySecretRequest, context: CallContext
    ) -> keys_pb2.RetireKeySecretResponse:
        """End one of two live secrets of a key: `old`, `new`, or the number of a secret."""
        key, outcome = await self._turn(request, context, Action.RETIRE)
        return keys_pb2.RetireKeySecretResponse(key=key, outcome=outcome)

    async def roll_back_key(
        self, request: keys_pb2.RollBackKeyRequest, context: CallContext
    ) -> keys_pb2.RollBackKeyResponse:
        """Undo the last rotation of a key while both secrets work."""
        key, outcome = await self._turn(request, context, Action.ROTATE)
        return keys_pb2.RollBackKeyResponse(key=key, outcome=outcome)

    async def revoke_key(
        self, request: keys_pb2.RevokeKeyRequest, context: CallContext
    ) -> keys_pb2.RevokeKeyResponse:
        """Revoke a key."""
        key, outcome = await self._turn(request, context, Action.REVOKE)
        return keys_pb2.RevokeKeyResponse(key=key, outcome=outcome)

    async def disable_key(
        self, request: keys_pb2.DisableKeyRequest, context: CallContext
    ) -> keys_pb2.DisableKeyResponse:
        """Disable a key."""
        key, outcome = await self._turn(request, context, Action.DISABLE)
        return keys_pb2.DisableKeyResponse(key=key, outcome=outcome)

    async def enable_key(
        self, request: keys_pb2.EnableKeyRequest, context: CallContext
    ) -> keys_pb2.EnableKeyResponse:
        """Enable a key."""
        key, outcome = await self._turn(request, context, Action.ENABLE)
        return keys_pb2.EnableKeyResponse(key=key, outcome=outcome)

    async def _turn(
        self,
        request: _Turn,
        context: CallContext,
        action: Action,
    ) -> tuple[key_pb2.Key, key_pb2.ChangeOutcome]:
        """Retire a secret, roll back, revoke, disable or enable, and return key and effect.

        The request's type and `action` say which.
        """
        lifecycle, kid = self._flows.lifecycle, kid_of("name", request.name)
        author = self._changing.author(context, note_of(request.note))
        version, dry_run = version_of(request.etag), request.validate_only
        conditions = self._changing.conditions(context, action, version, dry_run=dry_run)

        async def change() -> Result:
            if isinstance(request, keys_pb2.RetireKeySecretRequest):
                return await lifecycle.retire(kid, _secret(request.secret), author, conditions)
            if isinstance(request, keys_pb2.RollBackKeyRequest):
                return await self._flows.rolling_back.roll_back(kid, author, conditions)
            if isinstance(request, keys_pb2.RevokeKeyRequest):
                reason = revocation_reason(request.reason)
                return await lifecycle.revoke(kid, reason, author, conditions)
            act = lifecycle.disable if action is Action.DISABLE else lifecycle.enable
            return await act(kid, author, conditions)

        wait = wait_seconds(request.wait_time)
        made = await self._changing.carry_out(context, change, wait, dry_run=dry_run)
        return key_message(made.result.record), made.outcome

    async def _find(self, kid: str, context: CallContext) -> KeyRecord:
        record = await self._flows.lifecycle.show(kid)
        require_visible(context.caller, record)
        return record


def _secret(text: str) -> str:
    """Return `text`. Raises BadInput unless it is `old`, `new` or a number below 10 digits."""
    if text not in {"old", "new"} and not (text.isascii() and text.isdecimal() and len(text) < 10):  # noqa: PLR2004
        raise BadInput("secret", f"{shown(text)}: old, new, or the number of a secret")
    return text


def revocation_reason(number: int) -> RevocationReason:
    """Return the reason of a request; UNSPECIFIED for 0.

    Raises KeyError for an unknown number.
    """
    found = word_of(RevocationReason, number, "REVOCATION_REASON", _REASONS)
    return found or RevocationReason.UNSPECIFIED
