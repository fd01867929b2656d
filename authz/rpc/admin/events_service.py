"""The Events service: events about keys, and their delivery to sinks."""

import re
from typing import Any, Final

from authz.core.access import Caller, visible
from authz.core.errors import BadInput
from authz.core.fields import shown
from authz.core.notifications.notification import Notification, partition_of
from authz.core.notifications.pattern import fits
from authz.core.notifications.ports import DeadLetter
from authz.core.roles import Action
from authz.flows.admin_flows import AdminFlows
from authz.flows.notifications.sinks import SinkState
from authz.rpc.admin.api_error import ApiError, Code
from authz.rpc.admin.call_context import CallContext
from authz.rpc.admin.changing import Changing
from authz.rpc.admin.guards import sees_key
from authz.rpc.admin.hiding import hide_time
from authz.rpc.admin.page_tokens import PageTokens
from authz.rpc.admin.paging import page_size
from authz.rpc.admin.values import (
    SINKS,
    id_of,
    kid_of,
    name_of,
    note_of,
    struct_of,
    timestamp,
)
from authz.rpc.pb.admin.v1 import events_pb2

CHUNK: Final = 500  # rows read in one call
MAX_CHUNKS: Final = 20  # calls for one page
MAX_IDS: Final = 10_000

_TYPE: Final = re.compile(r"[a-z0-9_.]{1,64}\*?|\*", re.ASCII)


class EventsService:
    """The methods of authz.admin.v1.Events."""

    def __init__(self, flows: AdminFlows, tokens: PageTokens) -> None:
        self._flows = flows
        self._tokens = tokens
        self._changing = Changing(flows)

    async def list_events(
        self, request: events_pb2.ListEventsRequest, context: CallContext
    ) -> events_pb2.ListEventsResponse:
        """Return a page of the events of keys that the caller may see, newest first.

        It reads at most 10,000 rows of the trail. So a page may be short or empty and still have a
        token of the next one. Raises BadInput for a wrong field or token.
        """
        size, wanted = page_size(request.page_size), _type(request.event_type)
        kid = kid_of("key", request.key) if request.key else ""
        about = ("ListEvents", context.caller.actor, wanted, kid)
        position = self._tokens.open(request.page_token, *about)
        response = events_pb2.ListEventsResponse()
        if kid and not await self._sees(kid, context):
            await hide_time(context.caller, context.began, self._flows.clock)
            return response
        for _ in range(MAX_CHUNKS):
            page = await self._flows.sinks.before(position, CHUNK, kid)
            for cursor, event in page:
                position = cursor
                if event is not None and _is_wanted(event, wanted, kid, context.caller):
                    response.events.append(_event(event, self._flows.sinks.source))
                    if len(response.events) == size:
                        response.next_page_token = self._tokens.seal(position, *about)
                        return response
            if len(page) < CHUNK:
                return response
        response.next_page_token = self._tokens.seal(position, *about)
        return response

    async def list_event_sinks(
        self, _request: events_pb2.ListEventSinksRequest, _context: CallContext
    ) -> events_pb2.ListEventSinksResponse:
        """Return the sinks of the settings, and how far each of them is."""
        return events_pb2.ListEventSinksResponse(
            event_sinks=map(_sink, await self._flows.sinks.states())
        )

    async def list_dead_events(
        self, request: events_pb2.ListDeadEventsRequest, context: CallContext
    ) -> events_pb2.ListDeadEventsResponse:
        """Return a page of the events that a sink did not take, oldest first.

        Raises ApiError if no sink has the name, BadInput for a wrong field or token.
        """
        size, state = page_size(request.page_size), await self._state("parent", request.parent)
        about = ("ListDeadEvents", context.caller.actor, state.name)
        position = self._tokens.open(request.page_token, *about)
        after = _place(position)
        rest = [item for item in state.dead.items() if (item[1].at, item[0]) > after]
        response = events_pb2.ListDeadEventsResponse(
            dead_events=[_dead(event_id, letter) for event_id, letter in rest[:size]]
        )
        if len(rest) > size:
            event_id, letter = rest[size - 1]
            response.next_page_token = self._tokens.seal(f"{letter.at} {event_id}", *about)
        return response

    async def replay_events(
        self, request: events_pb2.ReplayEventsRequest, context: CallContext
    ) -> events_pb2.ReplayEventsResponse:
        """Let the process that delivers events send some to a sink again.

        With `validate_only`, only count them. Raises ApiError if no sink has the name, BadInput for
        wrong ids or a wrong note, and unless there are ids or `all_dead`.
        """
        if request.all_dead == bool(request.event_ids):
            raise BadInput("event_ids", "give ids of events, or all_dead")
        if len(request.event_ids) > MAX_IDS:
            raise BadInput("event_ids", f"at most {MAX_IDS}")
        for one in request.event_ids:
            self._check_id(one)
        sink = self._sink_name("name", request.name)
        author = self._changing.author(context, note_of(request.note))
        count = await self._flows.sinks.replay(
            sink, list(request.event_ids), author, dry_run=request.validate_only
        )
        return events_pb2.ReplayEventsResponse(replayed_events=count)

    def _check_id(self, text: str) -> None:
        """Raise BadInput for a text that is no id of an event of this store."""
        count = len(self._flows.trails)
        known = {None} if count == 1 else set[int | None](range(count))
        try:
            if partition_of(text)[0] in known:
                return
        except ValueError:
            pass
        raise BadInput("event_ids", f"{shown(text)} is not the id of an event")

    async def _sees(self, kid: str, context: CallContext) -> bool:
        return await sees_key(self._flows.index, context.caller, kid, Action.READ_AUDIT)

    async def _state(self, field: str, name: str) -> SinkState:
        return await self._flows.sinks.state(self._sink_name(field, name))

    def _sink_name(self, field: str, name: str) -> str:
        sink = id_of(field, name, SINKS, "siem")
        if sink not in self._flows.sinks.names:
            message = f"{shown(sink)}: no sink of events.sinks has this name"
            raise ApiError(Code.NOT_FOUND, "SINK_NOT_FOUND", message)
        return sink


def _type(text: str) -> str:
    if text and not _TYPE.fullmatch(text):
        raise BadInput("event_type", f"{shown(text)}: a type of events, such as authz.key.*")
    return text or "*"


def _is_wanted(event: Notification, wanted: str, kid: str, caller: Caller) -> bool:
    """Return whether an event fits, and the caller may see its key as it is now.

    Without the right to see every key, those of deleted keys are invisible.
    """
    seen, data = visible(caller, Action.READ_AUDIT), event.data
    return (
        fits(wanted, event.type)
        and kid in {"", event.kid}
        and (
            seen.is_everything
            or ("client" in data and seen.covers(data.get("tenant", ""), data.get("project", "")))
        )
    )


def _place(position: str) -> tuple[int, str]:
    at, _, event_id = position.partition(" ")
    return (int(at), event_id) if position else (-1, "")


def _event(event: Notification, source: str) -> events_pb2.Event:
    found: dict[str, Any] = dict(event.data)
    return events_pb2.Event(
        id=event.id,
        type=event.type,
        source=source,
        key=name_of(event.kid),
        event_time=timestamp(event.at),
        data=struct_of(found),
    )


def _sink(state: SinkState) -> events_pb2.EventSink:
    message = events_pb2.EventSink(
        name=f"{SINKS}{state.name}",
        kind=state.facts.kind,
        event_types=state.facts.types,
        started=state.progress is not None,
        dead_events=len(state.dead),
    )
    progress = state.progress
    if progress is not None and progress.failing:
        message.failing_event_id, message.tries = progress.failing, progress.tries
        message.failing_since_time.CopyFrom(timestamp(progress.since))
    return message


def _dead(event_id: str, letter: DeadLetter) -> events_pb2.DeadEvent:
    return events_pb2.DeadEvent(
        event_id=event_id,
        event_type=letter.type,
        key=name_of(letter.kid),
        give_up_time=timestamp(letter.at),
        problem=letter.problem,
    )
