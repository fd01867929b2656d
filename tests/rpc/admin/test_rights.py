"""Rights: every role, every method over gRPC and REST, own tenant and another one.

No call hints at another tenant.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import pytest_asyncio

from authz.core.roles import ALLOWED, UNBOUND, Action, Role
from authz.rpc.admin.method_table import NEEDED
from authz.rpc.pb.admin.v1 import (
    admin_pb2,
    applied_key_pb2,
    audit_pb2,
    events_pb2,
    fleet_pb2,
    key_pb2,
    keys_pb2,
    limits_pb2,
    me_pb2,
    policy_pb2,
    tokens_pb2,
    usage_pb2,
)
from authz.wiring import administration
from tests.support.rpc.admin import AdminRig, Stubs, details_of
from tests.support.rpc.direct_stubs import DirectStubs, commands_sent, record_commands
from tests.support.rpc.rest import Answer
from tests.support.rpc.rest_stubs import RestStubs

pytestmark = pytest.mark.asyncio(loop_scope="module")

Key = key_pb2.Key
CODE = grpc.StatusCode
NOBODY = "0" * 16
OURS, THEIRS = "north", "south"


@dataclass(frozen=True)
class Target:
    """A key of the table. text: "" for one that does not exist."""

    kid: str
    text: str = ""

    @property
    def name(self) -> str:
        """The name of the key."""
        return f"keys/{self.kid}"


Call = Callable[[Any, Target, str], Any]
# One call of each method: about one key, of one tenant. All of them are rehearsals or reads.
CALLS: dict[str, Call] = {
    "Keys.CreateKey": lambda s, _, tenant: s.keys.CreateKey(
        keys_pb2.CreateKeyRequest(key=Key(client_id="acme", tenant_id=tenant), validate_only=True)
    ),
    "Keys.GetKey": lambda s, k, _: s.keys.GetKey(keys_pb2.GetKeyRequest(name=k.name)),
    "Keys.ListKeys": lambda s, *_: s.keys.ListKeys(keys_pb2.ListKeysRequest()),
    "Keys.UpdateKey": lambda s, k, _: s.keys.UpdateKey(
        keys_pb2.UpdateKeyRequest(key=Key(name=k.name, display_name="new"), validate_only=True)
    ),
    "Keys.RotateKey": lambda s, k, _: s.keys.RotateKey(
        keys_pb2.RotateKeyRequest(name=k.name, validate_only=True)
    ),
    "Keys.RetireKeySecret": lambda s, k, _: s.keys.RetireKeySecret(
        keys_pb2.RetireKeySecretRequest(name=k.name, secret="old", validate_only=True)
    ),
    "Keys.RollBackKey": lambda s, k, _: s.keys.RollBackKey(
        keys_pb2.RollBackKeyRequest(name=k.name, validate_only=True)
    ),
    "Keys.RevokeKey": lambda s, k, _: s.keys.RevokeKey(
        keys_pb2.RevokeKeyRequest(name=k.name, validate_only=True)
    ),
    "Keys.DisableKey": lambda s, k, _: s.keys.DisableKey(
        keys_pb2.DisableKeyRequest(name=k.name, validate_only=True)
    ),
    "Keys.EnableKey": lambda s, k, _: s.keys.EnableKey(
        keys_pb2.EnableKeyRequest(name=k.name, validate_only=True)
    ),
    "Keys.DeleteKey": lambda s, k, _: s.keys.DeleteKey(
        keys_pb2.DeleteKeyRequest(name=k.name, validate_only=True)
    ),
    "Keys.ListKeyHistory": lambda s, k, _: s.keys.ListKeyHistory(
        keys_pb2.ListKeyHistoryRequest(parent=k.name)
    ),
    "Keys.VerifyKey": lambda s, k, _: s.keys.VerifyKey(keys_pb2.VerifyKeyRequest(api_key=k.text)),
    "Keys.ChangeKeys": lambda s, *_: s.keys.ChangeKeys(
        keys_pb2.ChangeKeysRequest(
            filter="client_id = acme",
            revoke=keys_pb2.ChangeKeysRequest.Revoke(),
            validate_only=True,
        )
    ),
    "Keys.ExportKeys": lambda s, *_: s.keys.ExportKeys(keys_pb2.ExportKeysRequest()),
    "Keys.ImportKeys": lambda s, _, tenant: s.import_keys(
        3
        * [
            keys_pb2.ImportKeysRequest(
                entries=[
                    keys_pb2.ImportKeysRequest.Entry(
                        api_key="sk-0123456789abcdef",
                        key=Key(client_id="acme", tenant_id=tenant),
                    )
                ],
                validate_only=True,
            )
        ]
    ),
    "Keys.ExportAppliedKeys": lambda s, *_: s.keys.ExportAppliedKeys(
        applied_key_pb2.ExportAppliedKeysRequest()
    ),
    "Keys.SaveAppliedKeys": lambda s, k, _: s.keys.SaveAppliedKeys(
        applied_key_pb2.SaveAppliedKeysRequest(
            applied_keys=[applied_key_pb2.AppliedKey(name=k.name, version=1)], validate_only=True
        )
    ),
    "Policy.ListRotationPolicies": lambda s, *_: s.policy.ListRotationPolicies(
        policy_pb2.ListRotationPoliciesRequest()
    ),
    "Policy.ListDueKeys": lambda s, *_: s.policy.ListDueKeys(policy_pb2.ListDueKeysRequest()),
    "Policy.ListPendingDeliveries": lambda s, *_: s.policy.ListPendingDeliveries(
        policy_pb2.ListPendingDeliveriesRequest()
    ),
    "Limits.GetKeyLimits": lambda s, k, _: s.limits.GetKeyLimits(
        limits_pb2.GetKeyLimitsRequest(name=f"{k.name}/limits")
    ),
    "Limits.ResetKeyLimits": lambda s, k, _: s.limits.ResetKeyLimits(
        limits_pb2.ResetKeyLimitsRequest(name=f"{k.name}/limits", validate_only=True)
    ),
    "Limits.RefundKeyLimits": lambda s, k, _: s.limits.RefundKeyLimits(
        limits_pb2.RefundKeyLimitsRequest(
            name=f"{k.name}/limits", budget="1/month,of=tokens", validate_only=True
        )
    ),
    "Usage.ListUsage": lambda s, k, _: s.usage.ListUsage(usage_pb2.ListUsageRequest(key=k.name)),
    "Usage.ListTopKeys": lambda s, *_: s.usage.ListTopKeys(usage_pb2.ListTopKeysRequest()),
    "Usage.ListAnomalies": lambda s, *_: s.usage.ListAnomalies(usage_pb2.ListAnomaliesRequest()),
    "Usage.GetLatestUse": lambda s, k, _: s.usage.GetLatestUse(
        usage_pb2.GetLatestUseRequest(name=f"{k.name}/latestUse")
    ),
    "Usage.EraseUsage": lambda s, k, _: s.usage.EraseUsage(
        usage_pb2.EraseUsageRequest(name=f"{k.name}/usage", validate_only=True)
    ),
    "Tokens.IssueToken": lambda s, k, _: s.tokens.IssueToken(
        tokens_pb2.IssueTokenRequest(api_key=k.text)
    ),
    "Tokens.InspectToken": lambda s, *_: s.tokens.InspectToken(
        tokens_pb2.InspectTokenRequest(token="no token")
    ),
    "Tokens.ListSigningKeys": lambda s, *_: s.tokens.ListSigningKeys(
        tokens_pb2.ListSigningKeysRequest()
    ),
    "Tokens.RotateSigningKey": lambda s, *_: s.tokens.RotateSigningKey(
        tokens_pb2.RotateSigningKeyRequest(validate_only=True)
    ),
    "Tokens.DeleteSigningKey": lambda s, *_: s.tokens.DeleteSigningKey(
        tokens_pb2.DeleteSigningKeyRequest(name="signingKeys/none", validate_only=True)
    ),
    "Audit.ListAuditEntries": lambda s, *_: s.audit.ListAuditEntries(
        audit_pb2.ListAuditEntriesRequest()
    ),
    "Audit.VerifyAuditTrail": lambda s, *_: s.audit.VerifyAuditTrail(
        audit_pb2.VerifyAuditTrailRequest()
    ),
    "Events.ListEvents": lambda s, *_: s.events.ListEvents(events_pb2.ListEventsRequest()),
    "Events.ListEventSinks": lambda s, *_: s.events.ListEventSinks(
        events_pb2.ListEventSinksRequest()
    ),
    "Events.ListDeadEvents": lambda s, *_: s.events.ListDeadEvents(
        events_pb2.ListDeadEventsRequest(parent="eventSinks/siem")
    ),
    "Events.ReplayEvents": lambda s, *_: s.events.ReplayEvents(
        events_pb2.ReplayEventsRequest(name="eventSinks/siem", all_dead=True, validate_only=True)
    ),
    "Fleet.ListSidecars": lambda s, *_: s.fleet.ListSidecars(fleet_pb2.ListSidecarsRequest()),
    "Fleet.ListBlockedClients": lambda s, *_: s.fleet.ListBlockedClients(
        fleet_pb2.ListBlockedClientsRequest()
    ),
    "Fleet.ClearBlockedClients": lambda s, *_: s.fleet.ClearBlockedClients(
        fleet_pb2.ClearBlockedClientsRequest(clients=["192.0.2.1"])
    ),
    "Fleet.AllowNetwork": lambda s, *_: s.fleet.AllowNetwork(
        fleet_pb2.AllowNetworkRequest(network="192.0.2.0/24", remove=True)
    ),
    "Fleet.WatchChanges": lambda s, *_: s.fleet.WatchChanges(
        fleet_pb2.WatchChangesRequest(after_version=0)
    ),
    "Me.GetMyKey": lambda s, *_: s.me.GetMyKey(me_pb2.GetMyKeyRequest()),
    "Me.GetMyLimits": lambda s, *_: s.me.GetMyLimits(me_pb2.GetMyLimitsRequest()),
    "Me.GetMyUsage": lambda s, *_: s.me.GetMyUsage(me_pb2.GetMyUsageRequest()),
    # A request that is refused after the rights are checked, so that the caller stays.
    "Me.RotateMyKey": lambda s, *_: s.me.RotateMyKey(me_pb2.RotateMyKeyRequest(request_id="x")),
    "Me.RevokeMyKey": lambda s, *_: s.me.RevokeMyKey(
        me_pb2.RevokeMyKeyRequest(wait_time={"seconds": 90})
    ),
    "Admin.WhoAmI": lambda s, *_: s.admin.WhoAmI(admin_pb2.WhoAmIRequest()),
    "Admin.GetInstallation": lambda s, *_: s.admin.GetInstallation(
        admin_pb2.GetInstallationRequest()
    ),
}
OF_A_KEY = {
    *("Keys.GetKey", "Keys.UpdateKey", "Keys.RotateKey", "Keys.RetireKeySecret"),
    "Keys.RollBackKey",
    *("Keys.RevokeKey", "Keys.DisableKey", "Keys.EnableKey", "Keys.ListKeyHistory"),
    *("Keys.DeleteKey", "Keys.SaveAppliedKeys"),
    *("Limits.GetKeyLimits", "Limits.ResetKeyLimits", "Limits.RefundKeyLimits"),
    *("Usage.ListUsage", "Usage.GetLatestUse", "Usage.EraseUsage"),
}
# Lists about one key.
OF_A_FILTER: dict[str, Call] = {
    "Audit.ListAuditEntries": lambda s, k, _: s.audit.ListAuditEntries(
        audit_pb2.ListAuditEntriesRequest(key=k.name)
    ),
    "Events.ListEvents": lambda s, k, _: s.events.ListEvents(
        events_pb2.ListEventsRequest(key=k.name)
    ),
}
# The right that the call of the table needs, where it is another than the least for its method.
RIGHT = NEEDED | {"Keys.UpdateKey": Action.UPDATE, "Keys.ChangeKeys": Action.REVOKE}
PASSES = {CODE.OK, CODE.FAILED_PRECONDITION, CODE.INVALID_ARGUMENT}  # after the rights


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def targets(rig: AdminRig) -> AsyncIterator[dict[str, Target]]:
    """A key of each tenant, and one that does not exist but was made here."""
    found = {
        tenant: Target(*await rig.issue(client_id="acme", tenant_id=tenant))
        for tenant in (OURS, THEIRS)
    }
    minted = administration.keyring(rig.settings).mint("live", NOBODY)
    yield found | {"nobody": Target(minted.kid, minted.text)}


Caller = Stubs | RestStubs


@pytest.fixture(params=["grpc", "rest"])
def caller(rig: AdminRig, request: pytest.FixtureRequest) -> Callable[[str], Caller]:
    """Return the function that makes the stubs of the holder of a key, for each transport."""
    return (lambda key: RestStubs(rig, key)) if request.param == "rest" else rig.stubs


def calls(stubs: Caller) -> dict[str, Call]:
    """The calls of the table that the transport has."""
    methods = stubs.methods if isinstance(stubs, RestStubs) else CALLS.keys()
    return {name: call for name, call in CALLS.items() if name in methods}


async def told(call: Any) -> tuple[grpc.StatusCode, str, Any]:
    """Return code, message and result of a call: all responses, of a stream those of 0.3 s."""
    found = []
    try:
        if not hasattr(call, "__aiter__"):
            answer = await call
            return told_over_rest(answer) if isinstance(answer, Answer) else (CODE.OK, "", answer)
        async with asyncio.timeout(0.3):
            async for response in call:
                found.append(response)  # noqa: PERF401  kept when the time is over
    except grpc.RpcError as error:
        return error.code(), error.details() or "", details_of(error)
    except TimeoutError:
        call.cancel()
    return CODE.OK, "", found


def told_over_rest(answer: Answer) -> tuple[grpc.StatusCode, str, Any]:
    """Return code, message and body of an answer."""
    if answer.status == 200:
        return CODE.OK, "", answer.body
    return CODE[answer.body["code"]], answer.body["detail"], answer.body


async def test_the_table_has_every_method(rig: AdminRig) -> None:
    """A new method needs a row here. Over REST one is missing: its requests are a stream."""
    assert set(CALLS) == set(NEEDED)
    assert set(CALLS) - RestStubs(rig).methods == {"Keys.ImportKeys"}


@pytest.mark.parametrize("role", Role)
async def test_a_role_in_its_tenant(rig: AdminRig, caller, targets, role: Role) -> None:
    """A bound role may do what its actions say, for its own tenant only."""
    stubs = caller((await rig.issue([role.scope], tenant_id=OURS))[1])
    for method, call in calls(stubs).items():
        needed = RIGHT[method]
        code, message, _ = await told(call(stubs, targets[OURS], OURS))
        may = needed is None or (needed in ALLOWED[role] and needed not in UNBOUND)
        assert (code in PASSES) is may, (method, code, message)
        assert may or code is CODE.PERMISSION_DENIED, (method, code, message)


@pytest.mark.parametrize("role", Role)
async def test_another_tenant_is_not_there(rig: AdminRig, caller, targets, role: Role) -> None:
    """A key of another tenant is answered like one that does not exist, by every method."""
    stubs = caller((await rig.issue([role.scope], tenant_id=OURS))[1])
    for method in OF_A_KEY | {"Keys.VerifyKey", "Tokens.IssueToken"}:
        theirs = await told(CALLS[method](stubs, targets[THEIRS], THEIRS))
        nobody = await told(CALLS[method](stubs, targets["nobody"], THEIRS))
        hidden = str(theirs).replace(targets[THEIRS].kid, NOBODY)
        assert hidden == str(nobody), method
        if method in OF_A_KEY:
            assert theirs[0] in {CODE.NOT_FOUND, CODE.PERMISSION_DENIED}
            assert theirs[0] is CODE.NOT_FOUND or RIGHT[method] not in ALLOWED[role]


@pytest.mark.parametrize("role", Role)
async def test_another_tenant_costs_what_nobody_costs(
    rig: AdminRig, targets, role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is asked the same for a key of another tenant as for one that does not exist."""
    record_commands(monkeypatch)
    stubs = DirectStubs(rig, (await rig.issue([role.scope], tenant_id=OURS))[1])
    for method, call in (CALLS | OF_A_FILTER).items():
        if method not in OF_A_KEY | OF_A_FILTER.keys() | {"Keys.VerifyKey", "Tokens.IssueToken"}:
            continue
        await call(stubs, targets["nobody"], THEIRS)  # what is read once, is read
        found = []
        for target in (targets[THEIRS], targets["nobody"]):
            with commands_sent() as sent:
                answer = await call(stubs, target, THEIRS)
            found.append((sent, answer[0]))
        assert found[0] == found[1], method
        assert found[0][0], method  # at least the credential is read


@pytest.mark.parametrize("role", Role)
async def test_lists_and_streams_hide_another_tenant(
    rig: AdminRig, caller, targets, role: Role
) -> None:
    """No list, export, stream, trail or bulk change has a key of another tenant."""
    text = (await rig.issue([role.scope], tenant_id=OURS))[1]
    stubs = caller(text)
    kid = targets[THEIRS].kid
    for method in calls(stubs).keys() - OF_A_KEY:
        answer = await told(CALLS[method](stubs, targets[OURS], OURS))
        assert kid not in str(answer), method
    stubs = rig.stubs(text)
    page = await stubs.keys.ListKeys(keys_pb2.ListKeysRequest(filter=f"tenant_id = {THEIRS}"))
    assert (list(page.keys), page.next_page_token) == ([], "")
    seen = await stubs.keys.ListKeys(keys_pb2.ListKeysRequest(filter="client_id = acme"))
    assert [key.name for key in seen.keys] == [targets[OURS].name]


@pytest.mark.parametrize("role", [Role.ISSUER, Role.ADMIN])
async def test_no_key_is_made_for_or_moved_to_another_tenant(
    rig: AdminRig, targets, role: Role
) -> None:
    """A bound role neither issues into another tenant nor moves a key there, or to none."""
    stubs = await rig.caller(role, tenant_id=OURS)
    for tenant in (THEIRS, ""):
        for call in (
            CALLS["Keys.CreateKey"](stubs, targets[OURS], tenant),
            stubs.keys.UpdateKey(
                keys_pb2.UpdateKeyRequest(
                    key=Key(name=targets[OURS].name, tenant_id=tenant),
                    update_mask={"paths": ["tenant_id"]},
                )
            ),
        ):
            assert (await told(call))[0] is CODE.PERMISSION_DENIED


async def test_an_issuer_gives_no_rights_over_this_api(rig: AdminRig, targets) -> None:
    """An issuer makes no key with a role, and an issuer takes rights away but gives none."""
    stubs = await rig.caller(Role.ISSUER)
    request = keys_pb2.CreateKeyRequest(key=Key(client_id="acme", scopes=["authz:viewer"]))
    assert (await told(stubs.keys.CreateKey(request)))[0] is CODE.PERMISSION_DENIED
    widen = keys_pb2.UpdateKeyRequest(key=Key(name=targets[OURS].name), add_scopes=["a:b"])
    assert (await told(stubs.keys.UpdateKey(widen)))[0] is CODE.PERMISSION_DENIED
    narrow = keys_pb2.UpdateKeyRequest(
        key=Key(name=targets[OURS].name, allowed_cidrs=["10.0.0.0/8"]), validate_only=True
    )
    assert (await told(stubs.keys.UpdateKey(narrow)))[0] is CODE.OK


@pytest.mark.parametrize("text", ["", "forged", "ak_live_x"])
async def test_without_a_credential(caller, targets, text: str) -> None:
    """Without a good credential every method is UNAUTHENTICATED, in the same words."""
    stubs = caller(targets["nobody"].text if text == "forged" else text)
    found = {await _told(stubs, targets, call) for call in calls(stubs).values()}
    assert len(found) == 1
    assert found.pop()[0] is CODE.UNAUTHENTICATED


async def _told(stubs: Caller, targets, call: Call) -> tuple[grpc.StatusCode, str, str]:
    code, message, details = await told(call(stubs, targets[OURS], OURS))
    return code, message, str(details)
