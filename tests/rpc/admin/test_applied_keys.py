"""The keys as a file declared them: what is stored, for whom, and what is refused."""

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct

from authz.core.roles import Role
from authz.rpc.pb.admin.v1 import applied_key_pb2
from tests.support.rpc.admin import AdminRig, Stubs, details_of

CODE = grpc.StatusCode
pytestmark = pytest.mark.asyncio(loop_scope="module")


def applied(kid: str, **members: object) -> applied_key_pb2.AppliedKey:
    """A key as a file declared it."""
    fields = Struct()
    fields.update({"plan": "standard", "expires_at": None, "outage_grace": 5000} | members)
    return applied_key_pb2.AppliedKey(name=f"keys/{kid}", version=1, ref="shop", fields=fields)


async def save(stubs: Stubs, *keys: applied_key_pb2.AppliedKey, validate_only: bool = False):
    """Save some keys."""
    request = applied_key_pb2.SaveAppliedKeysRequest(applied_keys=keys, validate_only=validate_only)
    return await stubs.keys.SaveAppliedKeys(request)


async def refusal(stubs: Stubs, *keys: applied_key_pb2.AppliedKey) -> grpc.aio.AioRpcError:
    """Save some keys, and return the error."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await save(stubs, *keys)
    return caught.value


async def exported(stubs: Stubs) -> list[applied_key_pb2.AppliedKey]:
    """Return all keys that the caller may see."""
    request = applied_key_pb2.ExportAppliedKeysRequest()
    return [one.applied_key async for one in stubs.keys.ExportAppliedKeys(request)]


async def test_saved_keys_are_exported_to_those_who_see_them(rig: AdminRig) -> None:
    """An administrator of a tenant sees the entries of its keys, and one of all tenants all."""
    north, _ = await rig.issue(client_id="acme", tenant_id="north")
    south, _ = await rig.issue(client_id="acme", tenant_id="south")
    everybody, bound = (
        await rig.caller(Role.ADMIN),
        await rig.caller(Role.ADMIN, tenant_id="north"),
    )
    await save(everybody, applied(north), applied(south), validate_only=True)
    assert await exported(everybody) == []
    await save(everybody, applied(north), applied(south))
    await save(bound, applied(north, plan="basic"))
    assert {one.name for one in await exported(everybody)} == {f"keys/{north}", f"keys/{south}"}
    assert await exported(bound) == [applied(north, plan="basic")]


async def test_wrong_keys_are_refused(rig: AdminRig) -> None:
    """A version that the key never had, an unknown field, and a key that is there twice."""
    kid, _ = await rig.issue(client_id="acme")
    stubs = await rig.caller(Role.ADMIN)
    late, odd, unknown = applied(kid), applied(kid), applied(kid, colour="red")
    late.version, odd.fields["outage_grace"] = 10**6, float("inf")
    wrong = applied(kid)
    wrong.ref = "a b"
    for keys, path in (
        ([late], "applied_keys[0].version"),
        ([odd], "applied_keys[0].fields"),
        ([unknown], "applied_keys[0].fields"),
        ([wrong], "applied_keys[0].ref"),
        ([applied(kid), applied(kid)], "applied_keys[1].name"),
        ([applied(kid)] * 501, "applied_keys"),
    ):
        error = await refusal(stubs, *keys)
        fields = [one.field for part in details_of(error)[1:] for one in part.field_violations]
        assert (error.code(), fields) == (CODE.INVALID_ARGUMENT, [path])
    assert (await refusal(stubs, applied("0" * 16))).code() is CODE.NOT_FOUND


async def test_a_garbled_record(rig: AdminRig) -> None:
    """A record that cannot be read is told to a caller who may see every key, and to no other."""
    kid, _ = await rig.issue(client_id="acme", tenant_id="north")
    await rig.garble(kid)
    everybody = await rig.caller(Role.ADMIN)
    bound = await rig.caller(Role.ADMIN, tenant_id="north")
    assert (await refusal(everybody, applied(kid))).code() is CODE.DATA_LOSS
    assert (await refusal(bound, applied(kid))).code() is CODE.NOT_FOUND
