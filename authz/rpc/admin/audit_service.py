"""The Audit service."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from authz.core import fields
from authz.core.access import Caller, visible
from authz.core.audit import Action, AuditEntry, AuditEvent
from authz.core.errors import Unreadable
from authz.core.keys.text import KID_PATTERN
from authz.core.records import KeyRecord
from authz.core.roles import Action as Right
from authz.core.trail.erasures import subject
from authz.core.trail.installation import is_about_installation
from authz.flows.admin_flows import AdminFlows
from authz.flows.trail.newest_rows import PlacedRow
from authz.rpc.admin.call_context import CallContext
from authz.rpc.admin.guards import sees_key
from authz.rpc.admin.hiding import hide_time
from authz.rpc.admin.key_messages import entry_message
from authz.rpc.admin.page_tokens import PageTokens
from authz.rpc.admin.paging import page_size
from authz.rpc.admin.values import kid_of, time_ms, word_of
from authz.rpc.pb.admin.v1 import audit_entry_pb2, audit_pb2

CHUNK: Final = 500  # rows read in one call
MAX_CHUNKS: Final = 20  # calls for one page

_ACTIONS: Final = {number: name for name, number in audit_entry_pb2.AuditEntry.Action.items()}


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The conditions of a request on entries. Empty or None: any.

    since (inclusive), until (exclusive): ms since the epoch.
    """

    kid: str
    actor: str
    action: Action | None
    since: int | None
    until: int | None

    @classmethod
    def of(cls, request: audit_pb2.ListAuditEntriesRequest) -> "_Wanted":
        """Return the conditions of a request. Raises BadInput for a wrong field."""
        since, until = (
            time_ms(name, getattr(request, name)) if request.HasField(name) else None
            for name in ("since_time", "until_time")
        )
        return cls(
            kid_of("key", request.key) if request.key else "",
            fields.line("actor", request.actor),
            word_of(Action, request.action, "ACTION", _ACTIONS),
            since,
            until,
        )

    def fits(self, kid: str, event: AuditEvent) -> bool:
        """Return whether an event of the key `kid` meets all conditions."""
        return (
            self.kid in {"", kid}
            and self.actor in {"", event.actor}
            and self.action in {None, event.action}
            and (self.since is None or event.at >= self.since)
            and (self.until is None or event.at < self.until)
        )


class AuditService:
    """The methods of authz.admin.v1.Audit."""

    def __init__(self, flows: AdminFlows, tokens: PageTokens) -> None:
        self._flows = flows
        self._tokens = tokens

    async def list_audit_entries(
        self, request: audit_pb2.ListAuditEntriesRequest, context: CallContext
    ) -> audit_pb2.ListAuditEntriesResponse:
        """Return a page of the changes of keys that the caller may see, newest first.

        Changes of the installation, such as of signing keys, are for callers who see every key.
        It reads at most 10,000 rows. So a page may be short or empty and still have a token of the
        next one. Rows that cannot be read are left out. Raises BadInput for a wrong field or token.
        """
        size, wanted = page_size(request.page_size), _Wanted.of(request)
        about = ("ListAuditEntries", context.caller.actor, repr(wanted))
        position = self._tokens.open(request.page_token, *about)
        response = audit_pb2.ListAuditEntriesResponse()
        if wanted.kid and not await self._sees(wanted.kid, context):
            await hide_time(context.caller, context.began, self._flows.clock)
            return response
        for _ in range(MAX_CHUNKS):
            rows = await self._flows.trail_rows.before(position, CHUNK)
            if not rows:
                return response
            entries = dict(self._entries(rows, wanted))
            about_keys = (subject(one.row) for one in rows if one.id in entries)
            kids = list(dict.fromkeys(kid for kid in about_keys if kid))
            sees = await self._sight(context.caller, kids)
            for position, row_id, row in rows:
                if row_id in entries and sees(kid := subject(row)):
                    response.entries.append(entry_message(kid, entries[row_id], row_id))
                    if len(response.entries) == size:
                        response.next_page_token = self._tokens.seal(position, *about)
                        return response
        response.next_page_token = self._tokens.seal(position, *about)
        return response

    async def _sees(self, kid: str, context: CallContext) -> bool:
        return await sees_key(self._flows.index, context.caller, kid, Right.READ_AUDIT)

    def _entries(
        self, rows: Sequence[PlacedRow], wanted: _Wanted
    ) -> Iterator[tuple[str, AuditEntry]]:
        """Yield row id and entry of each wanted row, without those that cannot be read.

        Only rows about a key or the installation.
        """
        for _, row_id, row in rows:
            kid = subject(row)
            if KID_PATTERN.fullmatch(kid) or is_about_installation(row):
                entry = self._flows.entry_of(row)
                if not isinstance(entry, Unreadable) and wanted.fits(kid, entry.event):
                    yield row_id, entry

    async def _sight(self, caller: Caller, kids: Sequence[str]) -> Callable[[str], bool]:
        """Return a test whether the caller may see one of these kids, by tenant and project now.

        Without the right to see every key, deleted and unreadable keys are invisible.
        """
        seen = visible(caller, Right.READ_AUDIT)
        if seen.is_everything:
            return lambda _kid: True
        records = await self._flows.index.read(kids)
        shown = {
            record.kid
            for record in records
            if isinstance(record, KeyRecord) and seen.covers(record.tenant_id, record.project_id)
        }
        return shown.__contains__
