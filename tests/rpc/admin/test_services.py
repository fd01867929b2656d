"""The services beside Keys: limits, audit, fleet, self-service, and the caller."""

import asyncio

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from authz import __version__
from authz.core.roles import Role
from authz.flows.trail.regular_sealing import RegularSealing
from authz.flows.trail.sealing import Sealer
from authz.process.clock import SystemClock
from authz.rpc.pb.admin.v1 import (
    admin_pb2,
    audit_entry_pb2,
    audit_pb2,
    fleet_pb2,
    key_pb2,
    keys_pb2,
    limits_pb2,
    me_pb2,
)
from authz.storage.trail import StoredRows
from authz.wiring import administration
from tests.support.rpc.admin import AdminRig, Stubs, fields_of, reason_of
from tests.support.storage import stored

pytestmark = pytest.mark.asyncio(loop_scope="module")

Key = key_pb2.Key
CODE = grpc.StatusCode
Action = audit_entry_pb2.AuditEntry


async def create(stubs: Stubs, client: str, **fields) -> keys_pb2.CreateKeyResponse:
    """Issue a key."""
    return await stubs.keys.CreateKey(
        keys_pb2.CreateKeyRequest(key=Key(client_id=client, **fields))
    )


# limits


async def test_limits(admin: Stubs) -> None:
    """The limits of a key and of its plan are listed with their use, and can be reset."""
    key = (await create(admin, "limits", plan="standard", limits=[key_pb2.Limit(spec="5/min")])).key
    name = f"{key.name}/limits"
    found = await admin.limits.GetKeyLimits(limits_pb2.GetKeyLimitsRequest(name=name))
    assert found.limits.name == name
    assert found.limits.allowed
    rows = {use.limit.limit_name: use for use in found.limits.limits}
    assert {name: use.limit.spec for name, use in rows.items()} == {
        "second": "10/s",
        "day": "1000/d",
        "minute": "5/min",
    }
    assert {(use.used, use.remaining - use.limit.amount, use.owner) for use in rows.values()} == {
        (0, 0, "key")
    }
    reset = limits_pb2.ResetKeyLimitsRequest(name=name, validate_only=True)
    assert not (await admin.limits.ResetKeyLimits(reset)).outcome.changed
    reset.validate_only = False
    response = await admin.limits.ResetKeyLimits(reset)
    assert response.outcome.changed
    assert response.key.version > key.version
    bare = (await create(admin, "limits")).key
    request = limits_pb2.GetKeyLimitsRequest(name=f"{bare.name}/limits")
    assert not (await admin.limits.GetKeyLimits(request)).limits.limits
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await admin.limits.GetKeyLimits(limits_pb2.GetKeyLimitsRequest(name=bare.name))
    assert fields_of(caught.value) == ["name"]


async def test_a_refund_with_its_etag_is_made_once(admin: Stubs) -> None:
    """A refund of more than was used is refused, and another etag is a conflict."""
    key = (await create(admin, "refunds", limits=[key_pb2.Limit(spec="5/month,of=usd")])).key
    refund = limits_pb2.RefundKeyLimitsRequest(
        name=f"{key.name}/limits", budget="0.01/month,of=usd", etag=key.etag
    )
    for etag, code in ((key.etag, CODE.FAILED_PRECONDITION), ("1", CODE.ABORTED)):
        refund.etag = etag
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await admin.limits.RefundKeyLimits(refund)
        assert caught.value.code() is code
    refund.budget = "5/month"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await admin.limits.RefundKeyLimits(refund)
    assert fields_of(caught.value) == ["budget"]


async def test_credits(admin: Stubs) -> None:
    """Credits have no reset time, and a refill is an update of the limits with the etag."""
    key = (await create(admin, "credits", limits=[key_pb2.Limit(spec="500/once")])).key
    [limit] = key.limits
    assert (limit.limit_name, limit.amount, limit.period) == ("credits", 500, "once")
    assert limit.time_zone == ""
    found = await admin.limits.GetKeyLimits(
        limits_pb2.GetKeyLimitsRequest(name=f"{key.name}/limits")
    )
    [use] = found.limits.limits
    assert (use.used, use.remaining, use.HasField("reset_time")) == (0, 500, False)

    def refill(spec: str) -> keys_pb2.UpdateKeyRequest:
        mask = FieldMask(paths=["limits"])
        wanted = key_pb2.Key(name=key.name, etag=key.etag, limits=[key_pb2.Limit(spec=spec)])
        return keys_pb2.UpdateKeyRequest(key=wanted, update_mask=mask)

    refilled = (await admin.keys.UpdateKey(refill("700/once"))).key
    assert [limit.amount for limit in refilled.limits] == [700]
    with pytest.raises(grpc.aio.AioRpcError) as caught:  # somebody with the older etag
        await admin.keys.UpdateKey(refill("600/once"))
    assert caught.value.code() is grpc.StatusCode.ABORTED


# audit


async def test_audit(rig: AdminRig, admin: Stubs) -> None:
    """The trail is listed newest first, in pages, by key, author, kind and time."""
    auditor = await rig.caller(Role.AUDITOR)
    key = (await create(admin, "audit")).key
    await admin.keys.DisableKey(keys_pb2.DisableKeyRequest(name=key.name))
    await admin.keys.RevokeKey(keys_pb2.RevokeKeyRequest(name=key.name, note="over"))
    request = audit_pb2.ListAuditEntriesRequest(key=key.name, page_size=2)
    page = await auditor.audit.ListAuditEntries(request)
    assert [entry.action for entry in page.entries] == [
        Action.ACTION_REVOKE,
        Action.ACTION_DISABLE,
    ]
    assert page.entries[0].base_version == page.entries[1].version
    request.page_token = page.next_page_token
    last = await auditor.audit.ListAuditEntries(request)
    assert [entry.action for entry in last.entries] == [Action.ACTION_ISSUE]
    assert last.next_page_token == ""
    actor = page.entries[0].actor
    for fields, count in (
        ({"action": Action.ACTION_REVOKE}, 1),
        ({"actor": actor}, 3),
        ({"actor": "nobody"}, 0),
        ({"since_time": Timestamp(seconds=4_000_000_000)}, 0),
        ({"until_time": Timestamp(seconds=4_000_000_000)}, 3),
    ):
        request = audit_pb2.ListAuditEntriesRequest(key=key.name, **fields)
        assert len((await auditor.audit.ListAuditEntries(request)).entries) == count
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await auditor.audit.ListAuditEntries(audit_pb2.ListAuditEntriesRequest(page_token="x"))
    assert fields_of(caught.value) == ["page_token"]


async def test_rows_that_cannot_be_read_are_left_out(rig: AdminRig, admin: Stubs) -> None:
    """A row of a garbled kid, and one of a garbled entry, are not listed; later rows are."""
    auditor = await rig.caller(Role.AUDITOR)
    key = (await create(admin, "garbled")).key
    async with administration.endpoint(rig.settings).client() as client:
        [(_, good)] = await client.xrevrange(stored.AUDIT, count=1)
        added = [
            await client.xadd(stored.AUDIT, good | damage, id=f"{key.version}-*")
            for damage in ({"kid": "\x1b[2J"}, {"kid": "short"}, {"action": "?"})
        ]
        request = audit_pb2.ListAuditEntriesRequest(page_size=1)
        listed = await auditor.audit.ListAuditEntries(request)
        await client.xdel(stored.AUDIT, *added)  # other tests verify the whole trail
    assert [(entry.key, entry.action) for entry in listed.entries] == [
        (key.name, Action.ACTION_ISSUE)
    ]
    assert listed.entries[0].version == key.version


# fleet


async def test_no_sidecars(admin: Stubs) -> None:
    """Without sidecars the list is empty, and the version is that of the store."""
    key = (await create(admin, "fleet")).key
    response = await admin.fleet.ListSidecars(fleet_pb2.ListSidecarsRequest())
    assert list(response.sidecars) == []
    assert response.version == key.version


async def test_watch(admin: Stubs) -> None:
    """Changes arrive in order, those since a version first, then the new ones."""
    first = (await create(admin, "watch")).key
    request = fleet_pb2.WatchChangesRequest(after_version=first.version - 1)
    call = admin.fleet.WatchChanges(request)
    response = await call.read()
    assert (response.version, response.key) == (first.version, first.name)
    assert response.status == Key.STATUS_ACTIVE
    revoked = await admin.keys.RevokeKey(keys_pb2.RevokeKeyRequest(name=first.name))
    response = await asyncio.wait_for(call.read(), 10)
    assert (response.version, response.status) == (revoked.key.version, Key.STATUS_REVOKED)
    call.cancel()


async def test_watch_from_a_version_that_is_gone(admin: Stubs) -> None:
    """A version after the last one is OUT_OF_RANGE: the log has another history."""
    call = admin.fleet.WatchChanges(fleet_pb2.WatchChangesRequest(after_version=10**9))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert (caught.value.code(), reason_of(caught.value)) == (CODE.OUT_OF_RANGE, "CHANGES_MISSED")


# self-service


async def test_me(rig: AdminRig, admin: Stubs) -> None:
    """A holder reads, rotates and revokes its own key, and nothing else."""
    issued = await create(admin, "holder", plan="standard", metadata={"note": "of ours"})
    me = rig.stubs(issued.api_key)
    own = (await me.me.GetMyKey(me_pb2.GetMyKeyRequest())).key
    assert (own.name, dict(own.metadata)) == (issued.key.name, {})
    limits = (await me.me.GetMyLimits(me_pb2.GetMyLimitsRequest())).limits
    assert len(limits.limits) == 2
    for call in (
        me.keys.GetKey(keys_pb2.GetKeyRequest(name=own.name)),
        me.keys.ListKeys(keys_pb2.ListKeysRequest()),
        me.admin.GetInstallation(admin_pb2.GetInstallationRequest()),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is CODE.PERMISSION_DENIED
    rotated = await me.me.RotateMyKey(me_pb2.RotateMyKeyRequest(request_id="6b1d7f2e-0009"))
    again = await me.me.RotateMyKey(me_pb2.RotateMyKeyRequest(request_id="6b1d7f2e-0009"))
    assert rotated.api_key == again.api_key
    me = rig.stubs(rotated.api_key)
    bad = me_pb2.RotateMyKeyRequest(overlap=Duration(seconds=8 * 86_400))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await me.me.RotateMyKey(bad)
    assert fields_of(caught.value) == ["overlap"]
    gone = await me.me.RevokeMyKey(me_pb2.RevokeMyKeyRequest())
    assert gone.key.status == Key.STATUS_REVOKED
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await me.me.GetMyKey(me_pb2.GetMyKeyRequest())
    assert caught.value.code() is CODE.UNAUTHENTICATED


# the caller and the installation


async def test_who_am_i(rig: AdminRig) -> None:
    """A caller learns its subject, its roles and their bounds."""
    stubs = await rig.caller(Role.ISSUER, Role.VIEWER, tenant_id="north", project_id="web")
    answer = await stubs.admin.WhoAmI(admin_pb2.WhoAmIRequest())
    assert answer.subject.startswith("key:")
    assert answer.method == "key"
    assert {
        (binding.role, *binding.tenant_ids, *binding.project_ids) for binding in answer.bindings
    } == {(role, "north", "web") for role in (admin_pb2.ROLE_ISSUER, admin_pb2.ROLE_VIEWER)}


async def test_installation(admin: Stubs) -> None:
    """The version, the prefix of keys and the plans are told."""
    answer = await admin.admin.GetInstallation(admin_pb2.GetInstallationRequest())
    assert (answer.version, answer.key_prefix) == (__version__, "ak")
    assert (answer.key_header, answer.key_scheme) == ("x-api-key", "")
    assert [(plan.plan, list(plan.limits)) for plan in answer.plans] == [
        ("standard", ["10/s", "1000/d"])
    ]


# deletion, and the trail as a whole


async def test_delete_and_verify(rig: AdminRig, admin: Stubs) -> None:
    """A dead key is deleted for ever, also against a repeated create; the trail stays intact."""
    request = keys_pb2.CreateKeyRequest(key=Key(client_id="gone"), request_id="6b1d7f2e-0099")
    key = (await admin.keys.CreateKey(request)).key
    delete = keys_pb2.DeleteKeyRequest(name=key.name)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await admin.keys.DeleteKey(delete)
    assert caught.value.code() is CODE.FAILED_PRECONDITION
    await admin.keys.RevokeKey(keys_pb2.RevokeKeyRequest(name=key.name))
    delete.validate_only = True
    assert (await admin.keys.DeleteKey(delete)).version == 0
    delete.validate_only = False
    delete.wait_time.seconds = 1
    deleted = await admin.keys.DeleteKey(delete)
    assert deleted.version > key.version
    assert deleted.confirmation.complete
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await admin.keys.GetKey(keys_pb2.GetKeyRequest(name=key.name))
    assert caught.value.code() is CODE.NOT_FOUND
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await admin.keys.CreateKey(request)
    assert reason_of(caught.value) == "KEY_DELETED"
    auditor = await rig.caller(Role.AUDITOR)
    report = await auditor.audit.VerifyAuditTrail(audit_pb2.VerifyAuditTrailRequest())
    assert (report.intact, list(report.findings)) == (True, [])
    assert report.rows >= 3  # of the two callers and of the deletion


async def test_the_trail_is_sealed_regularly(rig: AdminRig, admin: Stubs) -> None:
    """The task of the process adds a checkpoint, so that the order of the trail is proven."""
    ring = administration.keyring(rig.settings)
    async with administration.endpoint(rig.settings).client() as client:
        sealer = Sealer(StoredRows(client), ring.trail_keys, SystemClock(), "tests")
        sealing = asyncio.create_task(RegularSealing(sealer, lambda: True).run())
        for _ in range(200):
            report = await admin.audit.VerifyAuditTrail(audit_pb2.VerifyAuditTrailRequest())
            if report.checkpoints:
                break
            await asyncio.sleep(0.02)
        sealing.cancel()
    assert report.intact
    assert report.HasField("seal_time")
    assert report.unsealed_rows == 0


async def test_streams_that_reach_their_deadline_leave_no_traceback(
    rig: AdminRig, caplog: pytest.LogCaptureFixture
) -> None:
    """An answer that cannot be sent, because the client gave up meanwhile, is no fault."""
    stubs = await rig.caller(Role.VIEWER)

    async def follow(seconds: float) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            async for _ in stubs.fleet.WatchChanges(
                fleet_pb2.WatchChangesRequest(after_version=0), timeout=seconds
            ):
                pass
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    for _ in range(10):
        await asyncio.gather(*(follow(0.05 + n / 1000) for n in range(50)))
    await asyncio.sleep(0.2)
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
