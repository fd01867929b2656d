"""The audit trail over the admin API."""

from collections.abc import Sequence
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration

from authz.core.audit import Action
from authz.core.errors import BadInput
from authz.core.selector import Selector
from authz.core.trail.report import Finding, Problem, Report
from authz.flows.command_ports import KeyFinder
from authz.flows.selection import Cost
from authz.flows.trail.listing import Events, TrailEvent, Wanted
from authz.remote.calls import Calls
from authz.remote.records import entry_of, kid_of, known, optional_ms
from authz.rpc.admin.values import duration, name_of, timestamp
from authz.rpc.pb.admin.v1 import audit_entry_pb2, audit_pb2

PAGE: Final = 1000


class RemoteAudit:
    """TrailReader over the admin API, and its verification of the trail.

    The API has the entries about keys. Expiries and restores are known to the store alone, and so
    are entries that cannot be read.
    """

    def __init__(self, calls: Calls, finder: KeyFinder) -> None:
        self._calls = calls
        self._finder = finder

    async def find(self, wanted: Wanted, limit: int) -> Events:
        """Return the newest events that fit, at most `limit`.

        Raises BadInput for an action that the API does not know.
        """
        request = audit_pb2.ListAuditEntriesRequest(
            page_size=min(limit + 1, PAGE),
            key=name_of(wanted.kid) if wanted.kid else "",
            actor=wanted.actor,
            action=_action(wanted.action),
        )
        if wanted.since is not None:
            request.since_time.CopyFrom(timestamp(wanted.since))
        if wanted.until is not None:
            request.until_time.CopyFrom(timestamp(wanted.until))
        theirs = await self._kids_of(wanted.client_id)
        found: list[TrailEvent] = []
        method = self._calls.client.audit.ListAuditEntries
        async for response in self._calls.pages(method, request):
            events = map(_event, response.entries)
            found += [one for one in events if theirs is None or one.kid in theirs]
            if len(found) > limit:
                break
        found.sort(key=lambda event: event.at, reverse=True)
        return Events(tuple(found[:limit]), len(found) > limit)

    async def verify(
        self, trimmed_before: int, unmarked_until: int, max_unsealed: int | None
    ) -> Report:
        """Return the result of a verification of the whole trail. max_unsealed: ms."""
        longest: Duration | None = None if max_unsealed is None else duration(max_unsealed)
        request = audit_pb2.VerifyAuditTrailRequest(
            trimmed_before=trimmed_before, unmarked_until=unmarked_until, max_unsealed=longest
        )
        found = await self._calls.read(self._calls.client.audit.VerifyAuditTrail, request)
        return Report(
            findings=_findings(found.findings),
            more=found.more_findings,
            rows=found.rows,
            last=found.last_row,
            checkpoints=found.checkpoints,
            sealed_until=found.seal_row,
            sealed_at=optional_ms(found, "seal_time") or 0,
            unsealed=found.unsealed_rows,
            unsealed_since=optional_ms(found, "unsealed_since_time") or 0,
            unmarked=found.unmarked_rows,
            unmarked_until=found.unmarked_until,
        )

    async def _kids_of(self, client_id: str) -> frozenset[str] | None:
        """Return the kids of a client; None for every client."""
        if not client_id:
            return None
        entries = self._finder.each(Selector(client_id=client_id), Cost())
        return frozenset([entry.kid async for entry in entries])


def _action(word: str) -> Any:
    if word and word not in set(Action):
        raise BadInput("--action", f"{word} is known to the store alone: run it there")
    return f"ACTION_{word.upper()}" if word else audit_entry_pb2.AuditEntry.ACTION_UNSPECIFIED


def _event(message: audit_entry_pb2.AuditEntry) -> TrailEvent:
    entry = entry_of(message)
    event = entry.event
    kid = kid_of(message.key) if message.key else ""
    return TrailEvent(message.row, kid, event.at, event.action.value, event.actor, entry)


def _findings(
    given: Sequence[audit_pb2.VerifyAuditTrailResponse.Finding],
) -> tuple[Finding, ...]:
    return tuple(Finding(known(Problem, one.problem), one.row, one.text) for one in given)
