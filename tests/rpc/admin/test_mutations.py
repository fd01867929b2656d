"""Every method that changes something: its audit entry, its rehearsal, and how it is repeated."""

from collections.abc import Callable
from typing import Any, Final

import pytest
from google.api import annotations_pb2

from authz.core.limits.amounts import Amounts
from authz.core.limits.charge import SpendRequest, charge_for
from authz.core.limits.key_limits import KeyLimits, LimitGroup, Owner
from authz.core.limits.limit import OnOutage, parse_limit
from authz.core.notifications.ports import DeadLetter
from authz.process.clock import SystemClock
from authz.rpc.admin.method_table import SERVICES
from authz.rpc.pb.admin.v1 import (
    applied_key_pb2,
    audit_entry_pb2,
    audit_pb2,
    events_pb2,
    fleet_pb2,
    key_pb2,
    keys_pb2,
    limits_pb2,
    me_pb2,
    tokens_pb2,
    usage_pb2,
)
from authz.storage import schema
from authz.storage.limits.spend_script import SPEND, arguments
from authz.storage.notifications import StoredLetters
from authz.wiring import administration
from tests.support.rpc.admin import AdminRig, Stubs

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOTE: Final = "because of the table"
BUDGET: Final = parse_limit("limit", "1000/month,of=tokens")
CLIENT, NETWORK, EVENT = "192.0.2.1", "198.51.100.0/24", "10-0-0123456789ab"
READS: Final = frozenset(
    {
        *("Keys.VerifyKey", "Tokens.InspectToken", "Audit.VerifyAuditTrail"),
        "Tokens.IssueToken",  # a token is kept nowhere, and its sidecars judge its key
    }
)
WITHOUT_ENTRY: Final = frozenset({"Keys.SaveAppliedKeys"})  # what a file says changes no key
WITHOUT_NOTE: Final = frozenset({*WITHOUT_ENTRY, "Me.RotateMyKey", "Me.RevokeMyKey"})
# A repetition makes nothing twice: by an etag or a request id, or because of what the method does.
BY_ETAG_OR_ID: Final = frozenset(
    {
        *("Keys.CreateKey", "Keys.UpdateKey", "Keys.RotateKey", "Keys.RetireKeySecret"),
        *("Keys.RollBackKey", "Keys.RevokeKey", "Keys.DisableKey", "Keys.EnableKey"),
        *("Keys.DeleteKey", "Limits.RefundKeyLimits", "Tokens.RotateSigningKey"),
        "Me.RotateMyKey",
    }
)
BY_EFFECT: Final = frozenset(
    {
        *("Keys.ChangeKeys", "Keys.ImportKeys", "Keys.SaveAppliedKeys"),
        *("Limits.ResetKeyLimits", "Usage.EraseUsage", "Tokens.DeleteSigningKey"),
        *("Events.ReplayEvents", "Fleet.ClearBlockedClients", "Fleet.AllowNetwork"),
        "Me.RevokeMyKey",
    }
)


def changing() -> dict[str, Any]:
    """Return the descriptors of the methods that change something, by name."""
    found = {}
    for service in SERVICES:
        for method in service.methods:
            rule = method.GetOptions().Extensions[annotations_pb2.http]
            name = f"{service.name}.{method.name}"
            if not rule.get and name not in READS:
                found[name] = method
    return found


class Bench:
    """The subjects of the calls of the table. stubs: of an administrator. kid, client: of a key."""

    def __init__(self, rig: AdminRig, stubs: Stubs, kid: str, text: str, client: str) -> None:
        self.rig, self.stubs, self.kid, self.text, self.client = rig, stubs, kid, text, client
        self.signing_key = "signingKeys/none"

    @property
    def name(self) -> str:
        """The name of the key."""
        return f"keys/{self.kid}"

    @property
    def own(self) -> Any:
        """The stub of the holder of the key."""
        return self.rig.stubs(self.text).me

    async def prepare(self, method: str) -> None:
        """Make the state that a method changes."""
        if method in {"Keys.RetireKeySecret", "Keys.RollBackKey"}:
            rotate = keys_pb2.RotateKeyRequest(name=self.name, overlap={"seconds": 3600})
            await self.stubs.keys.RotateKey(rotate)
        elif method == "Keys.EnableKey":
            await self.stubs.keys.DisableKey(keys_pb2.DisableKeyRequest(name=self.name))
        elif method == "Keys.DeleteKey":
            await self.stubs.keys.RevokeKey(keys_pb2.RevokeKeyRequest(name=self.name))
        elif method == "Tokens.DeleteSigningKey":
            made = await self.stubs.tokens.RotateSigningKey(tokens_pb2.RotateSigningKeyRequest())
            self.signing_key = made.signing_key.name
        async with administration.endpoint(self.rig.settings).client() as client:
            group = LimitGroup(Owner.KEY, self.kid, (BUDGET,))
            now = SystemClock().wall_ms()
            charge = charge_for(KeyLimits((group,), OnOutage.DENY), Amounts(1, 5, 0), now)
            await client.eval(SPEND, *arguments(charge, SpendRequest(1)))
            far = str(SystemClock().wall_ms() + 60_000)
            await client.hset(schema.DEFAULT.blocked, CLIENT, far)
            letter = DeadLetter("authz.key.revoked", self.kid, 10, "answered 500")
            await StoredLetters(client).put("siem", EVENT, letter)


Call = Callable[[Bench, dict[str, Any]], Any]
CALLS: Final[dict[str, Call]] = {
    "Keys.CreateKey": lambda b, with_: b.stubs.keys.CreateKey(
        keys_pb2.CreateKeyRequest(key=key_pb2.Key(client_id="made"), **with_)
    ),
    "Keys.UpdateKey": lambda b, with_: b.stubs.keys.UpdateKey(
        keys_pb2.UpdateKeyRequest(key=key_pb2.Key(name=b.name, display_name="new"), **with_)
    ),
    "Keys.RotateKey": lambda b, with_: b.stubs.keys.RotateKey(
        keys_pb2.RotateKeyRequest(name=b.name, **with_)
    ),
    "Keys.RetireKeySecret": lambda b, with_: b.stubs.keys.RetireKeySecret(
        keys_pb2.RetireKeySecretRequest(name=b.name, secret="old", **with_)
    ),
    "Keys.RollBackKey": lambda b, with_: b.stubs.keys.RollBackKey(
        keys_pb2.RollBackKeyRequest(name=b.name, **with_)
    ),
    "Keys.RevokeKey": lambda b, with_: b.stubs.keys.RevokeKey(
        keys_pb2.RevokeKeyRequest(name=b.name, **with_)
    ),
    "Keys.DisableKey": lambda b, with_: b.stubs.keys.DisableKey(
        keys_pb2.DisableKeyRequest(name=b.name, **with_)
    ),
    "Keys.EnableKey": lambda b, with_: b.stubs.keys.EnableKey(
        keys_pb2.EnableKeyRequest(name=b.name, **with_)
    ),
    "Keys.DeleteKey": lambda b, with_: b.stubs.keys.DeleteKey(
        keys_pb2.DeleteKeyRequest(name=b.name, force=True, **with_)
    ),
    "Keys.ChangeKeys": lambda b, with_: b.stubs.keys.ChangeKeys(
        keys_pb2.ChangeKeysRequest(
            filter=f"client_id = {b.client}", disable=keys_pb2.ChangeKeysRequest.Disable(), **with_
        )
    ),
    "Keys.ImportKeys": lambda b, with_: b.stubs.import_keys(
        [
            keys_pb2.ImportKeysRequest(
                entries=[
                    keys_pb2.ImportKeysRequest.Entry(
                        api_key=f"sk-0123456789abcdef{b.kid}", key=key_pb2.Key(client_id="came")
                    )
                ],
                **with_,
            )
        ]
    ),
    "Keys.SaveAppliedKeys": lambda b, with_: b.stubs.keys.SaveAppliedKeys(
        applied_key_pb2.SaveAppliedKeysRequest(
            applied_keys=[applied_key_pb2.AppliedKey(name=b.name, version=1)], **with_
        )
    ),
    "Limits.ResetKeyLimits": lambda b, with_: b.stubs.limits.ResetKeyLimits(
        limits_pb2.ResetKeyLimitsRequest(name=f"{b.name}/limits", **with_)
    ),
    "Limits.RefundKeyLimits": lambda b, with_: b.stubs.limits.RefundKeyLimits(
        limits_pb2.RefundKeyLimitsRequest(
            name=f"{b.name}/limits", budget="1/month,of=tokens", **with_
        )
    ),
    "Usage.EraseUsage": lambda b, with_: b.stubs.usage.EraseUsage(
        usage_pb2.EraseUsageRequest(name=f"{b.name}/usage", **with_)
    ),
    "Tokens.RotateSigningKey": lambda b, with_: b.stubs.tokens.RotateSigningKey(
        tokens_pb2.RotateSigningKeyRequest(**with_)
    ),
    "Tokens.DeleteSigningKey": lambda b, with_: b.stubs.tokens.DeleteSigningKey(
        tokens_pb2.DeleteSigningKeyRequest(name=b.signing_key, **with_)
    ),
    "Events.ReplayEvents": lambda b, with_: b.stubs.events.ReplayEvents(
        events_pb2.ReplayEventsRequest(name="eventSinks/siem", event_ids=[EVENT], **with_)
    ),
    "Fleet.ClearBlockedClients": lambda b, with_: b.stubs.fleet.ClearBlockedClients(
        fleet_pb2.ClearBlockedClientsRequest(clients=[CLIENT], **with_)
    ),
    "Fleet.AllowNetwork": lambda b, with_: b.stubs.fleet.AllowNetwork(
        fleet_pb2.AllowNetworkRequest(network=NETWORK, **with_)
    ),
    "Me.RotateMyKey": lambda b, with_: b.own.RotateMyKey(me_pb2.RotateMyKeyRequest(**with_)),
    "Me.RevokeMyKey": lambda b, with_: b.own.RevokeMyKey(me_pb2.RevokeMyKeyRequest(**with_)),
}


async def entries(stubs: Stubs) -> list[audit_entry_pb2.AuditEntry]:
    """Return the entries of the trail, the newest first."""
    request = audit_pb2.ListAuditEntriesRequest(page_size=1000)
    return list((await stubs.audit.ListAuditEntries(request)).entries)


async def finish(call: Any) -> None:
    """Wait for the end of a call."""
    if hasattr(call, "__aiter__"):
        async for _ in call:
            pass
    else:
        await call


def fields_of_request(method: Any) -> set[str]:
    """Return the names of the fields of a request, and etag for one in its key."""
    names = set(method.input_type.fields_by_name)
    key = method.input_type.fields_by_name.get("key")
    if key is not None and key.message_type is not None and method.name != "CreateKey":
        names |= {"etag"} & set(key.message_type.fields_by_name)
    return names


async def test_every_method_that_changes_something_is_in_the_tables() -> None:
    """A new method needs a row in each table, or a reason in READS."""
    assert set(CALLS) == set(changing())
    assert set(changing()) == BY_ETAG_OR_ID | BY_EFFECT
    assert not BY_ETAG_OR_ID & BY_EFFECT


async def test_every_request_has_its_fields() -> None:
    """A change can be rehearsed, carries a note, and is safe to repeat."""
    for name, method in changing().items():
        fields = fields_of_request(method)
        assert "validate_only" in fields, name
        assert ("note" in fields) is (name not in WITHOUT_NOTE), name
        assert bool(fields & {"etag", "request_id"}) is (name in BY_ETAG_OR_ID), name


@pytest.mark.parametrize("name", CALLS)
async def test_a_change_has_one_entry_and_a_rehearsal_none(
    rig: AdminRig, admin: Stubs, name: str
) -> None:
    """The entry has the caller, the note, and where the call came from."""
    client = f"c{list(CALLS).index(name)}"
    kid, text = await rig.issue(client_id=client, limits=(BUDGET,))
    bench = Bench(rig, admin, kid, text, client)
    await bench.prepare(name)
    with_: dict[str, Any] = {} if name in WITHOUT_NOTE else {"note": NOTE}
    before = await entries(admin)
    await finish(CALLS[name](bench, {**with_, "validate_only": True}))
    assert await entries(admin) == before
    await finish(CALLS[name](bench, with_))
    known = {entry.row for entry in before}
    new = [entry for entry in await entries(admin) if entry.row not in known]
    if name in WITHOUT_ENTRY:
        assert not new
        return
    (entry,) = new
    assert entry.note == with_.get("note", "")
    assert entry.actor
    assert entry.source
    assert entry.request_id
    assert entry.action != audit_entry_pb2.AuditEntry.ACTION_UNSPECIFIED
