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
from tests.support.rpc.admin import admin_rig, admin_settings, reason_of

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


async def test_what_does_not_work_yet_says_so(rig, admin):
    """A method that knows no partitions refuses with the reason."""
    listed = await admin.fleet.ListSidecars(fleet_pb2.ListSidecarsRequest())
    assert len(listed.partition_versions) == COUNT
    assert sum(listed.partition_versions) > 0
    assert listed.version == 0
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in admin.fleet.WatchChanges(fleet_pb2.WatchChangesRequest()):
            pass
    assert "several partitions" in refused.value.details()
    assert reason_of(refused.value)


async def test_events_of_one_partition_are_not_shown_as_all(admin):
    """Methods about events refuse: a list of partition 0 alone would be a wrong answer."""
    events = admin.events
    for answer in (
        events.ListEvents(events_pb2.ListEventsRequest()),
        events.ListEventSinks(events_pb2.ListEventSinksRequest()),
        events.ListDeadEvents(events_pb2.ListDeadEventsRequest(parent="eventSinks/siem")),
        events.ReplayEvents(events_pb2.ReplayEventsRequest(name="eventSinks/siem", all_dead=True)),
    ):
        with pytest.raises(grpc.aio.AioRpcError, match="several partitions"):
            await answer


async def test_settings_that_do_not_work_yet_are_refused(valkey, tmp_path):
    """The start fails with the name of the setting, before a port is open."""
    settings = admin_settings(valkey, tmp_path)
    settings = settings.changed(redis=settings.redis.changed(partitions=COUNT))
    with pytest.raises(BadInput, match="does not work with several partitions yet"):
        async with admin_process(settings):
            pass
