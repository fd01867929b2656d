"""The Policy service: rotation policies, and the keys that are due."""

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from authz.core.begun_delivery import BegunDelivery
from authz.core.keys.seed import Seed
from authz.core.roles import Role
from authz.rpc.pb.admin.v1 import keys_pb2, policy_pb2
from authz.storage.deliveries import StoredDeliveries
from authz.wiring import administration
from tests.support.rpc.admin import DAY, AdminRig, Stubs, fields_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

TWO_DAYS = Duration(seconds=2 * 86_400)


async def due(stubs: Stubs, **fields) -> policy_pb2.ListDueKeysResponse:
    """Return a page of due keys."""
    return await stubs.policy.ListDueKeys(policy_pb2.ListDueKeysRequest(**fields))


async def test_policies(admin: Stubs) -> None:
    """The policies of the settings are listed."""
    request = policy_pb2.ListRotationPoliciesRequest()
    found = await admin.policy.ListRotationPolicies(request)
    (policy,) = found.rotation_policies
    assert (policy.plan, policy.rotate_every.seconds) == ("standard", 86_400)
    assert [one.seconds for one in policy.reminders] == [14 * 86_400, 3 * 86_400]


async def test_due_keys_are_paged_in_their_order(rig: AdminRig, admin: Stubs) -> None:
    """The keys of a policy are listed, the most urgent first, without those that do not work."""
    kids = [(await rig.issue(plan="standard", tenant_id="north"))[0] for _ in range(5)]
    await rig.issue(client_id="other", tenant_id="north")
    gone, _ = await rig.issue(plan="standard", tenant_id="north")
    await admin.keys.DisableKey(keys_pb2.DisableKeyRequest(name=f"keys/{gone}"))
    seen, token = [], ""
    while True:
        page = await due(admin, page_size=2, page_token=token, within=TWO_DAYS)
        seen += page.due_keys
        token = page.next_page_token
        if not token:
            break
    assert sorted(one.key.name for one in seen) == sorted(f"keys/{kid}" for kid in kids)
    times = [(one.due_time.ToMilliseconds(), one.key.name) for one in seen]
    assert times == sorted(times)
    assert {(one.secret_id, one.overdue) for one in seen} == {("1", False)}
    assert len((await due(admin)).due_keys) == 5  # 14 days
    assert not (await due(admin, within=Duration())).due_keys


async def test_a_tenant_sees_its_own_due_keys(rig: AdminRig) -> None:
    """Due keys of other tenants are not listed."""
    await rig.issue(plan="standard", tenant_id="south")
    viewer = await rig.caller(Role.VIEWER, tenant_id="south")
    found = await due(viewer, within=TWO_DAYS)
    assert [one.key.tenant_id for one in found.due_keys] == ["south"]


async def begin(rig: AdminRig, kid: str, began_at: int) -> None:
    """Let the store remember a delivery that has begun. began_at: ms since the epoch."""
    about = ("vault", DAY, began_at, 1, Seed(bytes(32), "1"), "alice", "")
    async with administration.endpoint(rig.settings).client() as client:
        await StoredDeliveries(client).begin(kid, BegunDelivery(*about).text())


async def pending(stubs: Stubs, **fields) -> policy_pb2.ListPendingDeliveriesResponse:
    """Return a page of pending deliveries."""
    request = policy_pb2.ListPendingDeliveriesRequest(**fields)
    return await stubs.policy.ListPendingDeliveries(request)


async def test_pending_deliveries_are_paged(rig: AdminRig, admin: Stubs) -> None:
    """The oldest comes first. A tenant sees its own, and a key that is gone has none."""
    kids = [(await rig.issue(tenant_id=one))[0] for one in ("east", "west", "east", "west", "east")]
    for place, kid in enumerate((*kids, "0" * 16)):
        await begin(rig, kid, 1_000 - place)
    first = await pending(admin, page_size=3)
    rest = await pending(admin, page_size=3, page_token=first.next_page_token)
    seen = [*first.pending_deliveries, *rest.pending_deliveries]
    assert [one.key.name for one in seen] == [f"keys/{kid}" for kid in reversed(kids)]
    assert {(one.target, one.secret_id, one.undecided) for one in seen} == {("vault", "2", False)}
    assert rest.next_page_token == ""
    viewer = await rig.caller(Role.VIEWER, tenant_id="west")
    found = (await pending(viewer)).pending_deliveries
    assert [one.key.name for one in found] == [f"keys/{kids[3]}", f"keys/{kids[1]}"]
    (one,) = (await pending(viewer, key=f"keys/{kids[1]}")).pending_deliveries
    assert one.key.name == f"keys/{kids[1]}"
    assert not (await pending(viewer, key=f"keys/{kids[0]}")).pending_deliveries
    with pytest.raises(grpc.RpcError) as caught:
        await pending(viewer, page_token=first.next_page_token)
    assert fields_of(caught.value) == ["page_token"]
    with pytest.raises(grpc.RpcError) as caught:
        await pending(viewer, key="7Hk2")
    assert fields_of(caught.value) == ["key"]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (policy_pb2.ListDueKeysRequest(within=Duration(seconds=-1)), "within"),
        (policy_pb2.ListDueKeysRequest(within=Duration(seconds=315_576_000_000)), "within"),
        (policy_pb2.ListDueKeysRequest(page_size=-1), "page_size"),
        (policy_pb2.ListDueKeysRequest(page_token="x"), "page_token"),
    ],
)
async def test_wrong_fields_are_named(admin: Stubs, request_, field: str) -> None:
    """A wrong field of a request is named."""
    with pytest.raises(grpc.RpcError) as caught:
        await admin.policy.ListDueKeys(request_)
    assert fields_of(caught.value) == [field]
