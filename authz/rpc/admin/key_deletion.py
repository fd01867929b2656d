"""DeleteKey: a key and its personal data go, also from the audit trail."""

from authz.core.changes import Refused
from authz.core.errors import Unavailable
from authz.core.records import KeyRecord
from authz.core.roles import Action
from authz.flows.admin_flows import AdminFlows
from authz.flows.confirmation import extent_of
from authz.rpc.admin.api_error import refused
from authz.rpc.admin.call_context import CallContext
from authz.rpc.admin.changing import Changing
from authz.rpc.admin.key_messages import confirmation_message
from authz.rpc.admin.values import kid_of, note_of, version_of, wait_seconds
from authz.rpc.pb.admin.v1 import key_pb2, keys_pb2


class KeyDeletion:
    """The method DeleteKey of authz.admin.v1.Keys."""

    def __init__(self, flows: AdminFlows) -> None:
        self._flows = flows
        self._changing = Changing(flows)

    async def delete_key(
        self, request: keys_pb2.DeleteKeyRequest, context: CallContext
    ) -> keys_pb2.DeleteKeyResponse:
        """Delete a key, for ever. Return the version of the deletion, with a wait its confirmation.

        With `validate_only`, delete nothing and return an empty message. Raises ApiError if the
        deletion is refused, NotFound, Forbidden, Conflict for another etag, BadInput.
        """
        kid, wait = kid_of("name", request.name), wait_seconds(request.wait_time)
        author = self._changing.author(context, note_of(request.note))
        version, dry_run = version_of(request.etag), request.validate_only
        conditions = self._changing.conditions(context, Action.DELETE, version, dry_run=dry_run)
        deleted = await self._flows.deletion.delete(
            kid, author, is_forced=request.force, conditions=conditions
        )
        if not isinstance(deleted, KeyRecord):
            raise refused(deleted.why if isinstance(deleted, Refused) else kid)
        if dry_run:
            return keys_pb2.DeleteKeyResponse()
        response = keys_pb2.DeleteKeyResponse(version=deleted.version)
        if wait:
            response.confirmation.CopyFrom(await self._confirmed(deleted, wait))
        return response

    async def _confirmed(self, deleted: KeyRecord, wait: float) -> key_pb2.Confirmation:
        try:
            found = await self._flows.wait.for_all(extent_of(deleted), wait)
        except Unavailable:
            return confirmation_message("the store could not be read while waiting")
        return confirmation_message(found)
