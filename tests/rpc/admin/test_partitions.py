"""The admin API over a store with several partitions."""

import asyncio

import grpc
import pytest

from authz.core.errors import BadInput
from authz.core.partitions import Partitions
from authz.core.roles import Role
from authz.rpc.pb.admin.v1 import (
    audit_entry_pb2,
    audit_pb2,
    events_pb2,
    fleet_pb2,
    key_pb2,
    keys_pb2,
)
from authz.settings.model import Settings
from authz.storage.schema import Names
from authz.wiring.admin import admin_process
from tests.support.rpc.admin import admin_rig, admin_settings, fields_of, reason_of

COUNT = 8
PARTITIONS = Partitions(COUNT)


def divided(settings: Settings) -> Settings:
    """Return the settings with eight partitions, without what does not work with them yet."""
    plain = Settings()
    return settings.changed(
        redis=settings.redis.changed(partitions=COUNT),
        tokens=plain.tokens,
    )


@pytest.fixture
async def rig(valkey, tmp_path):
    """A running admin API over eight partitions."""
    async with admin_rig(divided(admin_settings(valkey, tmp_path))) as found:
        yield found


@pytest.fixture
async def admin(rig):
    """The stubs of an administrator."""
    return await rig.caller(Role.ADMIN)


async def create(admin, number: int, **options) -> key_pb2.Key:
    """Create a key of one of many clients, and return it."""
    request = keys_pb2.CreateKeyRequest(
        key=key_pb2.Key(client_id=f"c{number}", env=key_pb2.Key.ENVIRONMENT_LIVE), **options
    )
    return (await admin.keys.CreateKey(request)).key


async def test_keys_are_made_and_changed_in_their_homes(rig, admin):
    """Each is where its kid leads; a repeated request makes the same key; a move is refused."""
    made = [await create(admin, number, request_id=f"request-{number}") for number in range(12)]
    again = [await create(admin, number, request_id=f"request-{number}") for number in range(12)]
    assert [one.name for one in again] == [one.name for one in made]
    homes = [PARTITIONS.home(f"c{number}") for number in range(12)]
    kids = [one.name.removeprefix("keys/") for one in made]
    assert [PARTITIONS.of(kid) for kid in kids] == homes
    revoked = await admin.keys.RevokeKey(keys_pb2.RevokeKeyRequest(name=made[3].name))
    assert revoked.key.status == key_pb2.Key.STATUS_REVOKED
    tenants = (f"t{number}" for number in range(100))
    other = next(one for one in tenants if PARTITIONS.home("", "", one) != homes[5])
    moved = keys_pb2.UpdateKeyRequest(
        key=key_pb2.Key(name=made[5].name, tenant_id=other), update_mask={"paths": ["tenant_id"]}
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await admin.keys.UpdateKey(moved)
    assert "another partition of the store" in refused.value.details()


async def pages(call, request, items):
    """Return the items of all pages of a list."""
    found = []
    while True:
        response = await call(request)
        found += items(response)
        if not response.next_page_token:
            return found
        request.page_token = response.next_page_token


async def test_lists_have_pages_over_all_partitions(rig, admin):
    """Keys and audit entries come once each, in order, whatever the size of a page."""
    made = [await create(admin, number) for number in range(20)]
    for one in made[::3]:
        await admin.keys.RevokeKey(keys_pb2.RevokeKeyRequest(name=one.name))
    listed = await pages(
        admin.keys.ListKeys,
        keys_pb2.ListKeysRequest(page_size=3),
        lambda response: [key.name for key in response.keys if key.client_id != "ops"],
    )
    assert listed == [one.name for one in made]
    entries = await pages(
        admin.audit.ListAuditEntries,
        audit_pb2.ListAuditEntriesRequest(page_size=4),
        lambda response: [(entry.key, entry.action) for entry in response.entries],
    )
    action = audit_entry_pb2.AuditEntry.Action
    issued, revoked = action.Value("ACTION_ISSUE"), action.Value("ACTION_REVOKE")
    assert [key for key, done in entries if done == revoked] == [one.name for one in made[::3]][
        ::-1
    ]
    ours = {one.name for one in made}
    created = [key for key, done in entries if done == issued and key in ours]
    assert created == [one.name for one in made][::-1]


async def test_the_trails_are_sealed_and_verified(rig, admin, valkey):
    """The report is about all partitions, and a finding names its partition."""
    made = await create(admin, 1)
    request = audit_pb2.VerifyAuditTrailRequest()
    while not (await admin.audit.VerifyAuditTrail(request)).checkpoints:
        await asyncio.sleep(0.05)
    assert (await admin.audit.VerifyAuditTrail(request)).intact
    at = PARTITIONS.of(made.name.removeprefix("keys/"))
    valkey.admin.delete(Names(partition=at, partitions=COUNT).audit)
    report = await admin.audit.VerifyAuditTrail(request)
    assert not report.intact
    assert {one.row.partition(".")[0] for one in report.findings} == {str(at)}


async def test_a_partition_that_is_not_ours(rig, admin, valkey):
    """Keys of other partitions work, and the readiness names the partition."""
    made = [await create(admin, number) for number in range(12)]
    homes = {PARTITIONS.of(one.name.removeprefix("keys/")) for one in made}
    lost = max(homes - {PARTITIONS.home("ops")})  # that of the caller's key is needed
    names = Names(partition=lost, partitions=COUNT)
    kept = valkey.admin.hgetall(names.meta)
    valkey.admin.delete(names.meta)
    while f"partition {lost}" not in str(rig.process.readiness.report()):
        await asyncio.sleep(0.02)
    assert rig.process.readiness()
    for one in made:
        ask = admin.keys.GetKey(keys_pb2.GetKeyRequest(name=one.name))
        if PARTITIONS.of(one.name.removeprefix("keys/")) == lost:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await ask
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        else:
            assert (await ask).key.name == one.name
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await admin.keys.ListKeys(keys_pb2.ListKeysRequest())
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    valkey.admin.hset(names.meta, mapping=kept)


async def test_versions_are_those_of_each_partition(rig, admin):
    """An earlier client takes 0 for the number of the last change, so all keys are newer to it."""
    await create(admin, 1)
    listed = await admin.fleet.ListSidecars(fleet_pb2.ListSidecarsRequest())
    assert len(listed.partition_versions) == COUNT
    assert sum(listed.partition_versions) > 0
    assert listed.version == 0


async def test_changes_of_all_partitions_are_followed(rig, admin):
    """Changes since some versions come first, then new ones; a watch goes on after any response."""
    listed = await admin.fleet.ListSidecars(fleet_pb2.ListSidecarsRequest())
    made = [await create(admin, number) for number in range(12)]
    request = fleet_pb2.WatchChangesRequest(after_partition_versions=listed.partition_versions)
    call = admin.fleet.WatchChanges(request)
    first = [await call.read() for _ in made]
    assert {one.key for one in first} == {one.name for one in made}
    await admin.keys.RevokeKey(keys_pb2.RevokeKeyRequest(name=made[3].name))
    revoked = await call.read()
    assert (revoked.key, revoked.status) == (made[3].name, key_pb2.Key.STATUS_REVOKED)
    at = PARTITIONS.of(made[3].name.removeprefix("keys/"))
    assert revoked.version == revoked.partition_versions[at]
    call.cancel()
    request = fleet_pb2.WatchChangesRequest(after_partition_versions=first[4].partition_versions)
    call = admin.fleet.WatchChanges(request)
    rest = {(await call.read()).key for _ in range(8)}
    assert rest == {one.key for one in first[5:]} | {made[3].name}
    call.cancel()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"after_version": 0}, "after_version"),
        ({"after_partition_versions": [0] * 48}, "after_partition_versions"),
        ({"after_partition_versions": [0] * 7 + [-1]}, "after_partition_versions"),
    ],
)
async def test_versions_of_another_number_of_partitions(rig, admin, fields, field):
    """Wrong versions are refused by name: a watch after them would leave changes out."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await admin.fleet.WatchChanges(fleet_pb2.WatchChangesRequest(**fields)).read()
    assert fields_of(refused.value) == [field]


async def test_a_log_that_lacks_changes_is_named(rig, admin):
    """The call ends with OUT_OF_RANGE, and says which partition it is."""
    request = fleet_pb2.WatchChangesRequest(after_partition_versions=[0] * 7 + [10**9])
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in admin.fleet.WatchChanges(request):
            pass
    assert reason_of(refused.value) == "CHANGES_MISSED"
    assert "partition 7: " in refused.value.details()


async def test_events_of_all_partitions(rig, admin):
    """Events have pages by time, also those of one key; a replay takes ids of this store alone."""
    made = [await create(admin, number) for number in range(12)]
    await admin.keys.RevokeKey(keys_pb2.RevokeKeyRequest(name=made[3].name))
    found = await pages(
        admin.events.ListEvents,
        events_pb2.ListEventsRequest(page_size=3),
        lambda response: list(response.events),
    )
    ours = [one for one in found if one.key in {each.name for each in made}]
    assert [one.key for one in ours] == [made[3].name, *(one.name for one in made[::-1])]
    for one in ours:
        assert one.id.startswith(f"{PARTITIONS.of(one.key.removeprefix('keys/'))}.")
    of_key = await pages(
        admin.events.ListEvents,
        events_pb2.ListEventsRequest(page_size=1, key=made[3].name),
        lambda response: [event.type for event in response.events],
    )
    assert of_key == ["authz.key.revoked", "authz.key.created"]
    sink, ids = "eventSinks/siem", [one.id for one in ours]
    replay = events_pb2.ReplayEventsRequest(name=sink, event_ids=ids, validate_only=True)
    assert (await admin.events.ReplayEvents(replay)).replayed_events == len(ids)
    for wrong in ("8.17-0-5f2c9a10b3de", "17-0-5f2c9a10b3de"):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await admin.events.ReplayEvents(
                events_pb2.ReplayEventsRequest(name=sink, event_ids=[wrong])
            )
        assert fields_of(refused.value) == ["event_ids"]
    states = await admin.events.ListEventSinks(events_pb2.ListEventSinksRequest())
    assert [one.name for one in states.event_sinks] == [sink]
    dead = await admin.events.ListDeadEvents(events_pb2.ListDeadEventsRequest(parent=sink))
    assert not dead.dead_events


async def test_settings_that_do_not_work_yet_are_refused(valkey, tmp_path):
    """The start fails with the name of the setting, before a port is open."""
    settings = admin_settings(valkey, tmp_path)
    settings = settings.changed(redis=settings.redis.changed(partitions=COUNT))
    with pytest.raises(BadInput, match="does not work with several partitions yet"):
        async with admin_process(settings):
            pass
