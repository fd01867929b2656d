"""The Events service: events of keys, sinks, dead events and replays."""

import asyncio
import time

import grpc
import pytest

from authz.core.notifications.ports import DeadLetter, Progress
from authz.core.roles import Role
from authz.rpc.pb.admin.v1 import events_pb2, keys_pb2
from authz.storage.notifications import StoredLetters, StoredNotifications, StoredReplays
from authz.wiring import administration
from tests.support.real import PATIENCE
from tests.support.rpc.admin import AdminRig, Stubs, fields_of, reason_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

CODE = grpc.StatusCode
SINK = "eventSinks/siem"


async def listed(stubs: Stubs, **fields) -> events_pb2.ListEventsResponse:
    """Return a page of events."""
    return await stubs.events.ListEvents(events_pb2.ListEventsRequest(**fields))


async def test_events_are_paged_and_narrowed(rig: AdminRig, admin: Stubs) -> None:
    """Events come newest first, page by page, by type and by key, with the data of sinks."""
    kid, _ = await rig.issue(client_id="paged", tenant_id="north", project_id="web")
    name = f"keys/{kid}"
    await admin.keys.RevokeKey(keys_pb2.RevokeKeyRequest(name=name, note="gone"))
    newest = await listed(admin, page_size=1)
    (event,) = newest.events
    assert (event.type, event.key, event.source) == ("authz.key.revoked", name, "authz")
    data = dict(event.data)
    assert (data["client"], data["tenant"], data["note"]) == ("paged", "north", "gone")
    following = await listed(admin, page_size=1, page_token=newest.next_page_token)
    assert [one.type for one in following.events] == ["authz.key.created"]
    both = await listed(admin, key=name)
    assert [one.type for one in both.events] == ["authz.key.revoked", "authz.key.created"]
    made = await listed(admin, key=name, event_type="authz.key.cr*")
    assert [one.type for one in made.events] == ["authz.key.created"]


async def test_a_tenant_sees_its_own_events(rig: AdminRig) -> None:
    """Events of other tenants, and of keys that are gone, are not there for a bound caller."""
    ours, _ = await rig.issue(client_id="a", tenant_id="east")
    theirs, _ = await rig.issue(client_id="a", tenant_id="west")
    auditor = await rig.caller(Role.AUDITOR, tenant_id="east")
    seen = {one.key for one in (await listed(auditor, page_size=1000)).events}
    assert f"keys/{ours}" in seen
    assert f"keys/{theirs}" not in seen
    assert not (await listed(auditor, key=f"keys/{theirs}")).events
    everybody = await rig.caller(Role.AUDITOR)
    assert (await listed(everybody, key=f"keys/{theirs}")).events


async def test_sinks_and_their_dead_events(rig: AdminRig, admin: Stubs) -> None:
    """A sink shows how far it is; its dead events are paged and can be delivered again."""
    letters = {f"{at}-0-0123456789ab": at for at in (30, 10, 20)}
    async with administration.endpoint(rig.settings).client() as client:
        for event_id, at in letters.items():
            letter = DeadLetter("authz.key.revoked", "A" * 16, at, "answered 500")
            await StoredLetters(client).put("siem", event_id, letter)
        await StoredNotifications(client).save("siem", Progress("3-0", "4-0-0123456789ab", 5, 7))
        found = await admin.events.ListEventSinks(events_pb2.ListEventSinksRequest())
        (sink,) = found.event_sinks
        assert (sink.name, sink.kind, list(sink.event_types)) == (SINK, "log", ["authz.key.*"])
        assert (sink.started, sink.dead_events) == (True, 3)

        request = events_pb2.ListDeadEventsRequest(parent=SINK, page_size=2)
        first = await admin.events.ListDeadEvents(request)
        request.page_token = first.next_page_token
        rest = await admin.events.ListDeadEvents(request)
        dead = [*first.dead_events, *rest.dead_events]
        assert [one.give_up_time.ToMilliseconds() for one in dead] == [10, 20, 30]
        assert dead[0].event_id == "10-0-0123456789ab"
        assert (dead[0].key, dead[0].problem) == (f"keys/{'A' * 16}", "answered 500")
        assert not rest.next_page_token

        wanted = events_pb2.ReplayEventsRequest(name=SINK, all_dead=True, validate_only=True)
        assert (await admin.events.ReplayEvents(wanted)).replayed_events == 3
        assert set(await StoredLetters(client).all("siem")) == letters.keys()


async def test_a_dead_event_is_delivered_again(rig: AdminRig, admin: Stubs) -> None:
    """The process that delivers takes the ids of a replay, and the event is dead no longer.

    An id that the store refuses, which an earlier version took, holds nothing up.
    """
    kid, _ = await rig.issue()
    (event,) = (await listed(admin, key=f"keys/{kid}")).events
    async with administration.endpoint(rig.settings).client() as client:
        letters = StoredLetters(client)
        await letters.put("siem", event.id, DeadLetter(event.type, kid, 1, "answered 500"))
        await StoredReplays(client).ask("siem", [f"{2**64}-0-0123456789ab"])
        request = events_pb2.ReplayEventsRequest(name=SINK, event_ids=[event.id])
        assert (await admin.events.ReplayEvents(request)).replayed_events == 1
        deadline = time.monotonic() + PATIENCE
        while event.id in await letters.all("siem") or await StoredReplays(client).asked("siem"):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("ListEvents", events_pb2.ListEventsRequest(event_type="Bad Type"), "event_type"),
        ("ListEvents", events_pb2.ListEventsRequest(event_type="*a*"), "event_type"),
        ("ListEvents", events_pb2.ListEventsRequest(key="nonsense"), "key"),
        ("ListEvents", events_pb2.ListEventsRequest(page_size=-1), "page_size"),
        ("ListEvents", events_pb2.ListEventsRequest(page_token="x"), "page_token"),
        ("ListDeadEvents", events_pb2.ListDeadEventsRequest(parent="siem"), "parent"),
        ("ListDeadEvents", events_pb2.ListDeadEventsRequest(parent="eventSinks/"), "parent"),
        ("ListDeadEvents", events_pb2.ListDeadEventsRequest(parent="eventSinks/a/b"), "parent"),
        (
            "ListDeadEvents",
            events_pb2.ListDeadEventsRequest(parent=SINK, page_token="x"),
            "page_token",
        ),
        ("ReplayEvents", events_pb2.ReplayEventsRequest(name=SINK), "event_ids"),
        ("ReplayEvents", events_pb2.ReplayEventsRequest(name=SINK, event_ids=["x"]), "event_ids"),
        (  # the store refuses such an id, so the sink would wait for ever
            "ReplayEvents",
            events_pb2.ReplayEventsRequest(name=SINK, event_ids=[f"{2**64}-0-0123456789ab"]),
            "event_ids",
        ),
        (
            "ReplayEvents",
            events_pb2.ReplayEventsRequest(
                name=SINK, event_ids=["1-0-0123456789ab"], all_dead=True
            ),
            "event_ids",
        ),
        (
            "ReplayEvents",
            events_pb2.ReplayEventsRequest(name=SINK, event_ids=["1-0-0123456789ab"] * 10_001),
            "event_ids",
        ),
    ],
)
async def test_wrong_fields_are_named(admin: Stubs, method: str, request_, field: str) -> None:
    """A wrong field of a request is named."""
    with pytest.raises(grpc.RpcError) as caught:
        await getattr(admin.events, method)(request_)
    assert caught.value.code() is CODE.INVALID_ARGUMENT
    assert fields_of(caught.value) == [field]


async def test_an_unknown_sink_is_not_found(admin: Stubs) -> None:
    """A sink that the settings do not have is not found; its name is shown escaped."""
    for name in ("eventSinks/other", "eventSinks/\x1b[31m"):
        with pytest.raises(grpc.RpcError) as caught:
            await admin.events.ReplayEvents(
                events_pb2.ReplayEventsRequest(name=name, all_dead=True)
            )
        assert caught.value.code() is CODE.NOT_FOUND
        assert reason_of(caught.value) == "SINK_NOT_FOUND"
        assert "\x1b" not in caught.value.details()
