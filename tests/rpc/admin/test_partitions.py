"""The admin API over a store with several partitions."""

import asyncio
import time
from urllib.parse import urlencode

import grpc
import pytest

from authz.console.token_endpoint import API_KEY, GRANT, KEY_SET, TOKEN
from authz.core.limits.limit import OnOutage, parse_limits
from authz.core.partitions import Partitions
from authz.core.roles import Role
from authz.core.usage.anomalies.features import Feature, Reason
from authz.core.usage.anomalies.ports import Round
from authz.core.usage.anomalies.ranking import Anomaly
from authz.rpc.pb.admin.v1 import (
    audit_entry_pb2,
    audit_pb2,
    events_pb2,
    fleet_pb2,
    key_pb2,
    keys_pb2,
    tokens_pb2,
    usage_pb2,
)
from authz.settings.model import Settings
from authz.storage.schema import Names
from authz.wiring.administration import keyring, our_parts
from authz.wiring.usage_readers import habits
from tests.support.rpc.admin import admin_rig, admin_settings, fields_of, reason_of
from tests.support.rpc.rest import RestClient

COUNT = 8
PARTITIONS = Partitions(COUNT)


def divided(settings: Settings) -> Settings:
    """Return the settings with eight partitions."""
    return settings.changed(redis=settings.redis.changed(partitions=COUNT))


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


async def test_tokens_of_keys_in_all_partitions(rig, admin, valkey):
    """The signing key of partition 0 signs for all keys. Limits are counted where the key lies."""
    await admin.tokens.RotateSigningKey(tokens_pb2.RotateSigningKeyRequest())
    http = RestClient(rig.process.http)
    limited = {"limits": parse_limits("limits", ["1/d"]), "on_outage": OnOutage.DENY}
    made = [await rig.issue(client_id=f"c{number}", **limited) for number in range(12)]
    _, unlimited = await rig.issue(client_id="c0")

    async def exchange(text):
        form = {"grant_type": GRANT, "subject_token": text, "subject_token_type": API_KEY}
        headers = {"content-type": "application/x-www-form-urlencoded"}
        return await http.send("POST", TOKEN, urlencode(form).encode(), headers)

    while (await exchange(unlimited)).status == 503:  # the signing key is not read yet
        await asyncio.sleep(0.05)
    for kid, text in made:
        while (answer := await exchange(text)).status == 503:  # a link is not open yet
            await asyncio.sleep(0.05)
        assert answer.status == 200, answer.body
        assert (await exchange(text)).status == 429
        assert valkey.admin.exists(Names(partition=PARTITIONS.of(kid), partitions=COUNT).limit(kid))
        inspected = await admin.tokens.InspectToken(
            tokens_pb2.InspectTokenRequest(token=answer.body["access_token"])
        )
        assert (inspected.accepted, inspected.key_name) == (True, f"keys/{kid}")
    issued = await admin.tokens.IssueToken(tokens_pb2.IssueTokenRequest(api_key=made[0][1]))
    assert issued.access_token
    published = await http.send("GET", KEY_SET)
    assert len(published.body["keys"]) == 1


async def test_unusual_keys_of_all_partitions(valkey, tmp_path):
    """The ranking has the keys of every partition. A rule changes a key of any of them."""
    hour = int(time.time()) // 3600 - 1
    reasons = tuple(Reason(one, 9, 1, 2) for one in (Feature.RATE, Feature.NETWORKS))
    of = {"clients": [f"c{number}" for number in range(12)]}
    rules = {"disable": {"stolen": {"features": ["rate", "networks"], "of": of}}}
    rules["max_per_hour"] = 12
    settings = divided(admin_settings(valkey, tmp_path))
    settings = settings.changed(anomalies=Settings.parse({"anomalies": rules}).anomalies)
    async with admin_rig(settings) as rig, our_parts(settings, keyring(settings)) as parts:
        kids = [(await rig.issue(client_id=f"c{number}"))[0] for number in range(12)]
        await habits(parts).save({}, [Anomaly(kid, hour, reasons) for kid in kids])
        await habits(parts).finish(Round(hour, keys=12))
    async with admin_rig(settings, initialise=False) as rig:  # it looks when it starts
        admin = await rig.caller(Role.ADMIN)
        answer = await admin.usage.ListAnomalies(usage_pb2.ListAnomaliesRequest())
        assert {one.name for one in answer.keys} == {f"keys/{kid}" for kid in kids}
        assert answer.judged.key_count == 12
        for kid in kids:
            while True:
                found = await admin.keys.GetKey(keys_pb2.GetKeyRequest(name=f"keys/{kid}"))
                if found.key.status == key_pb2.Key.STATUS_DISABLED:
                    break
                await asyncio.sleep(0.02)
