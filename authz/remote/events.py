"""Events and their sinks over the admin API."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from authz.core.changes import Author
from authz.core.notifications.catalogue import ALL
from authz.core.notifications.notification import Notification
from authz.core.notifications.ports import DeadLetter, Progress
from authz.flows.notifications.sinks import SinkFacts, SinkState, chosen
from authz.remote.calls import Calls
from authz.remote.records import kid_of, ms_of
from authz.rpc.admin.values import SINKS, members_of, name_of
from authz.rpc.pb.admin.v1 import events_pb2

PAGE: Final = 1000
# The order of the members of an event's data. A message has none.
_MEMBERS: Final[tuple[str, ...]] = (
    *("kid", "client", "project", "tenant", "version", "actor", "note", "address"),
    *("request_id", "details"),
)
_DETAILS: Final = {kind.name: tuple(kind.details) for kind in ALL}


class RemoteSinks:
    """EventSinks over the admin API."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def newest(self, event_type: str, kid: str | None, limit: int) -> list[dict[str, Any]]:
        """Return at most `limit` events as CloudEvents, the newest first."""
        request = events_pb2.ListEventsRequest(
            page_size=min(limit, PAGE), event_type=event_type, key=name_of(kid) if kid else ""
        )
        found: list[dict[str, Any]] = []
        async for page in self._calls.pages(self._calls.client.events.ListEvents, request):
            found += [_event(one).cloud_event(one.source) for one in page.events]
            if len(found) >= limit:
                break
        return found[:limit]

    async def states(self, sink: str | None) -> Sequence[SinkState]:
        """Return the state of a sink, or of all. Raises BadInput if no sink has the name."""
        request = events_pb2.ListEventSinksRequest()
        response = await self._calls.read(self._calls.client.events.ListEventSinks, request)
        sinks = {one.name.removeprefix(SINKS): one for one in response.event_sinks}
        return [
            SinkState(name, _facts(sinks[name]), _progress(sinks[name]), await self._dead(name))
            for name in chosen(sinks, sink)
        ]

    async def replay(self, sink: str, event_ids: Sequence[str], author: Author) -> int:
        """Let the server deliver events to a sink again. The server knows the author."""
        request = events_pb2.ReplayEventsRequest(
            name=f"{SINKS}{sink}",
            event_ids=event_ids,
            all_dead=not event_ids,
            note=author.note,
        )
        response = await self._calls.change(self._calls.client.events.ReplayEvents, request)
        return int(response.replayed_events)

    async def _dead(self, sink: str) -> Mapping[str, DeadLetter]:
        request = events_pb2.ListDeadEventsRequest(parent=f"{SINKS}{sink}", page_size=PAGE)
        pages = self._calls.pages(self._calls.client.events.ListDeadEvents, request)
        return {
            one.event_id: DeadLetter(
                one.event_type, kid_of(one.key), ms_of(one.give_up_time), one.problem
            )
            async for page in pages
            for one in page.dead_events
        }


def _facts(one: events_pb2.EventSink) -> SinkFacts:
    return SinkFacts(one.kind, tuple(one.event_types))


def _progress(one: events_pb2.EventSink) -> Progress | None:
    if not one.started:
        return None
    since = ms_of(one.failing_since_time) if one.failing_event_id else 0
    return Progress("", one.failing_event_id, since, one.tries)


def _event(one: events_pb2.Event) -> Notification:
    members = members_of(one.data)
    data = {name: members[name] for name in _MEMBERS if name in members}
    details: Mapping[str, Any] = data.get("details") or {}
    known = [name for name in _DETAILS.get(one.type, ()) if name in details]
    data["details"] = {name: details[name] for name in (*known, *sorted(details.keys() - known))}
    return Notification(one.id, one.type, kid_of(one.key), ms_of(one.event_time), data)
