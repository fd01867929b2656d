"""ImportKeys: existing keys, in batches over one stream."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from authz.core.access import may, visible
from authz.core.errors import BadInput
from authz.core.keys.credentials import Imported, ImportedHash
from authz.core.past import Past
from authz.core.records import KeyRecord, Status
from authz.core.roles import Action
from authz.flows.admin_flows import AdminFlows
from authz.flows.importing import Clash, Done, Importer, Wanted
from authz.flows.importing import Outcome as Imports
from authz.rpc.admin.call_context import CallContext
from authz.rpc.admin.key_fields import key_spec
from authz.rpc.admin.values import name_of, note_of, time_ms, word_of
from authz.rpc.pb.admin.v1 import key_pb2, keys_pb2

MAX_ENTRIES: Final = 100  # in one request
HASH_LENGTH: Final = 32  # bytes of SHA-256

_STATUSES: Final = {number: name for name, number in key_pb2.Key.Status.items()}

Outcome = keys_pb2.ImportKeysResponse.Outcome


class KeyImport:
    """The method ImportKeys of authz.admin.v1.Keys."""

    def __init__(self, flows: AdminFlows) -> None:
        self._flows = flows

    async def import_keys(
        self, requests: AsyncIterator[keys_pb2.ImportKeysRequest], context: CallContext
    ) -> AsyncIterator[keys_pb2.ImportKeysResponse]:
        """Import each batch before the next one is read, and yield its outcomes in order.

        `note` and `validate_only` of the first request hold for all; with `validate_only` nothing
        is imported. Raises BadInput for more than MAX_ENTRIES (100) entries in a request.
        """
        importer: Importer | None = None
        rehearsing = False
        async for request in requests:
            if importer is None:
                rehearsing = request.validate_only
                importer = self._flows.importer(
                    context.caller.actor, note_of(request.note), context.source, context.call_id
                )
            if len(request.entries) > MAX_ENTRIES:
                raise BadInput("entries", f"at most {MAX_ENTRIES} in one request")
            outcomes = await self._put(importer, request, context, rehearsing=rehearsing)
            yield keys_pb2.ImportKeysResponse(outcomes=outcomes)

    async def _put(
        self,
        importer: Importer,
        request: keys_pb2.ImportKeysRequest,
        context: CallContext,
        *,
        rehearsing: bool,
    ) -> list[Outcome]:
        """Import the good entries of a request, and return an outcome for each entry, in order."""
        planned = [self._wanted(entry, context) for entry in request.entries]
        _refuse_repeated(planned)
        good = [wanted for wanted in planned if isinstance(wanted, Wanted)]
        act = importer.rehearse if rehearsing else importer.put
        found = await act(good)
        shown = await self._shown(context, found)
        outcomes = iter(found)
        return [
            _outcome(next(outcomes) if isinstance(one, Wanted) else one, shown, rehearsing)
            for one in planned
        ]

    def _wanted(
        self, entry: keys_pb2.ImportKeysRequest.Entry, context: CallContext
    ) -> Wanted | BadInput:
        """Return the key to import, or why it is refused. No text of the refusal has the key."""
        flows = self._flows
        try:
            key = self._key(entry)
            spec = key_spec("key", entry.key, flows.plans)
            past = _past(entry.past) if entry.HasField("past") else None
        except BadInput as cause:
            return cause
        caller = context.caller
        if not may(caller, Action.IMPORT, spec.tenant_id, spec.project_id, scopes=spec.scopes):
            return BadInput("key", "you may not import a key of this tenant, project and scopes")
        return Wanted(key, spec, past)

    def _key(self, entry: keys_pb2.ImportKeysRequest.Entry) -> Imported | ImportedHash:
        """Return the key or its hash. Raises BadInput without the text of the key."""
        if entry.sha256:
            if entry.api_key or len(entry.sha256) != HASH_LENGTH:
                raise BadInput("sha256", "32 bytes, and not together with api_key")
            return self._flows.keyring.imported_hash(entry.sha256)
        key = self._flows.keyring.parse_imported(entry.api_key)
        if key is None:
            raise BadInput("api_key", "16 to 256 of A-Z a-z 0-9 _ . ~ + / = -, not one of ours")
        if entry.api_key.encode() in entry.key.SerializeToString():
            raise BadInput("api_key", "stands in another field too, where it would be shown")
        return key

    async def _shown(self, context: CallContext, outcomes: Sequence[Imports]) -> frozenset[str]:
        """Return the kids of imported and clashing keys that the caller may see."""
        seen = visible(context.caller, Action.READ_KEYS)
        kids = [one.kid for one in outcomes if isinstance(one, Done | Clash)]
        if seen.is_everything or not kids:
            return frozenset(kids)
        there = [
            one.kid
            for one in outcomes
            if isinstance(one, Clash) or (isinstance(one, Done) and one.already)
        ]
        records = await self._flows.index.read(there)
        return frozenset(kids) - frozenset(there) | {
            record.kid
            for record in records
            if isinstance(record, KeyRecord) and seen.covers(record.tenant_id, record.project_id)
        }


def _past(given: keys_pb2.ImportKeysRequest.Past) -> Past:
    """Return the state in another system. Raises BadInput for a wrong time."""
    created, ends = (
        time_ms(f"past.{name}", getattr(given, name)) if given.HasField(name) else None
        for name in ("create_time", "expire_time")
    )
    status = word_of(Status, given.status, "STATUS", _STATUSES) or Status.ACTIVE
    return Past(status=status, created_at=created, expires_at=ends)


def _refuse_repeated(planned: list[Wanted | BadInput]) -> None:
    """Replace in `planned` each entry whose key is that of an earlier entry by a BadInput."""
    first: dict[bytes, int] = {}
    for at, wanted in enumerate(planned):
        if isinstance(wanted, Wanted):
            before = first.setdefault(wanted.identity(), at)
            if before != at:
                planned[at] = BadInput("api_key", f"is the same as that of entry {before}")


def _outcome(one: Imports, shown: frozenset[str], rehearsing: bool) -> Outcome:
    if isinstance(one, BadInput):
        return Outcome(error_field=one.field, error=one.problem)
    if isinstance(one, Clash):
        if one.kid not in shown:  # the key of another tenant: its fields are not told
            return Outcome(already_there=True)
        about = {"error_field": f"key.{one.field}", "error": one.problem}
        return Outcome(name=name_of(one.kid), already_there=True, **about)
    is_named = one.kid in shown and (one.already or not rehearsing)
    return Outcome(name=name_of(one.kid) if is_named else "", already_there=one.already)
