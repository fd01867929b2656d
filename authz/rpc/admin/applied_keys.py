"""Methods of the Keys service about files: the keys as a file of `authz apply` declared them."""

from collections.abc import AsyncIterator, Mapping
from typing import Final

from authz.core.access import visible
from authz.core.errors import BadInput, Forbidden, NotFound, Unreadable
from authz.core.fields import identifier, shown
from authz.core.merging import STATUS, Applied
from authz.core.records import KeyRecord
from authz.core.roles import Action
from authz.core.updates import Updates
from authz.flows.admin_flows import AdminFlows
from authz.flows.selection import CHUNK
from authz.rpc.admin.call_context import CallContext
from authz.rpc.admin.guards import permits, require_visible
from authz.rpc.admin.paging import selection_for
from authz.rpc.admin.values import kid_of, members_of, name_of, struct_of
from authz.rpc.pb.admin.v1 import applied_key_pb2

MAX_KEYS: Final = CHUNK
_FIELDS: Final = frozenset({*Updates.__annotations__, STATUS})


class AppliedKeys:
    """Methods of authz.admin.v1.Keys about applied files."""

    def __init__(self, flows: AdminFlows) -> None:
        self._flows = flows

    async def export_applied_keys(
        self, _request: applied_key_pb2.ExportAppliedKeysRequest, context: CallContext
    ) -> AsyncIterator[applied_key_pb2.ExportAppliedKeysResponse]:
        """Yield every key that a file declared and that the caller may see, by kid.

        Raises Unreadable if an entry is garbled or was written without the pepper.
        """
        _, keep = selection_for(context.caller, Action.EXPORT, "")
        applied = await self._flows.applied.load()
        kids = sorted(applied)
        for start in range(0, len(kids), CHUNK):
            part = kids[start : start + CHUNK]
            if keep is not None:
                entries = await self._flows.selection.read(part)
                part = [entry.kid for entry in entries if entry.record and keep(entry.record)]
            for kid in part:
                yield applied_key_pb2.ExportAppliedKeysResponse(
                    applied_key=applied_message(kid, applied[kid])
                )

    async def save_applied_keys(
        self, request: applied_key_pb2.SaveAppliedKeysRequest, context: CallContext
    ) -> applied_key_pb2.SaveAppliedKeysResponse:
        """Store the declared fields of keys that the caller may update.

        Raises BadInput for a wrong field, NotFound also for a key that the caller may not see,
        Forbidden for one that it may not update.
        """
        if len(request.applied_keys) > MAX_KEYS:
            raise BadInput("applied_keys", f"at most {MAX_KEYS}")
        found: dict[str, Applied] = {}
        for number, message in enumerate(request.applied_keys):
            field = f"applied_keys[{number}]"
            kid = kid_of(f"{field}.name", message.name)
            if kid in found:
                raise BadInput(f"{field}.name", f"{kid} is there twice")
            found[kid] = _applied(field, message)
        await self._check(found, context)
        if not request.validate_only:
            await self._flows.applied.save(found)
        return applied_key_pb2.SaveAppliedKeysResponse()

    async def _check(self, found: Mapping[str, Applied], context: CallContext) -> None:
        records = await self._flows.index.read(list(found))
        for number, (kid, record) in enumerate(zip(found, records, strict=True)):
            if isinstance(record, Unreadable) and _sees_everything(context):
                raise record
            if not isinstance(record, KeyRecord):
                raise NotFound(f"no key has the kid {kid}")
            require_visible(context.caller, record)
            if not permits(context.caller, Action.UPDATE, record):
                raise Forbidden(f"you may not update keys/{kid}")
            if not 0 < found[kid].version <= record.version:
                raise BadInput(f"applied_keys[{number}].version", f"1 to {record.version}")


def applied_message(kid: str, applied: Applied) -> applied_key_pb2.AppliedKey:
    """Return a key as a file declared it, as a message."""
    return applied_key_pb2.AppliedKey(
        name=name_of(kid),
        version=applied.version,
        ref=applied.ref,
        fields=struct_of(applied.fields),
    )


def _applied(field: str, message: applied_key_pb2.AppliedKey) -> Applied:
    ref = identifier(f"{field}.ref", message.ref) if message.ref else ""
    try:
        members = members_of(message.fields)
    except ValueError:
        raise BadInput(f"{field}.fields", "has a number that is not finite") from None
    if unknown := sorted(members.keys() - _FIELDS):
        raise BadInput(f"{field}.fields", f"{shown(unknown[0])} is unknown")
    return Applied(message.version, members, ref)


def _sees_everything(context: CallContext) -> bool:
    return visible(context.caller, Action.READ_KEYS).is_everything
