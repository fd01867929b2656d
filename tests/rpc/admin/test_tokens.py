"""The Tokens service: issue and inspect tokens; list, rotate and delete signing keys."""

import time
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio

from authz.core.roles import Role
from authz.rpc.admin.tokens_service import MAX_TEXT
from authz.rpc.pb.admin.v1 import audit_entry_pb2, audit_pb2, keys_pb2, tokens_pb2
from tests.support.real import PATIENCE
from tests.support.rpc.admin import AdminRig, Stubs, admin_rig, fields_of, reason_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

CODE = grpc.StatusCode
State = tokens_pb2.SigningKey.State


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def signing(admin: Stubs) -> AsyncIterator[str]:
    """The name of a signing key that signs."""
    request = tokens_pb2.RotateSigningKeyRequest(request_id="first-key", note="the first")
    made = (await admin.tokens.RotateSigningKey(request)).signing_key
    deadline = time.monotonic() + PATIENCE
    while State.STATE_SIGNS not in await states(admin):
        assert time.monotonic() < deadline
    yield made.name


async def states(admin: Stubs) -> list[State]:
    """Return the states of the signing keys."""
    found = await admin.tokens.ListSigningKeys(tokens_pb2.ListSigningKeysRequest())
    return [one.state for one in found.signing_keys]


async def issue(stubs: Stubs, key: str, **fields) -> tokens_pb2.IssueTokenResponse:
    """Exchange a key, as soon as the server has read the signing key."""
    request = tokens_pb2.IssueTokenRequest(api_key=key, **fields)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return await stubs.tokens.IssueToken(request)
        except grpc.RpcError as error:
            if error.code() is not CODE.FAILED_PRECONDITION or time.monotonic() > deadline:
                raise


async def inspect(stubs: Stubs, token: str) -> tokens_pb2.InspectTokenResponse:
    """Inspect a token."""
    return await stubs.tokens.InspectToken(tokens_pb2.InspectTokenRequest(token=token))


async def test_a_token_is_issued_and_inspected(rig: AdminRig, admin: Stubs) -> None:
    """A token has the asked part of the rights, and its claims and its key can be read."""
    kid, text = await rig.issue(["a:read", "b:read"], client_id="acme")
    issued = await issue(admin, text, scopes=["a:read"], audience="web", lifetime={"seconds": 60})
    assert (list(issued.scopes), issued.lifetime.seconds) == (["a:read"], 60)
    found = await inspect(admin, issued.access_token)
    claims = dict(found.claims)
    assert (found.accepted, found.reason, found.key_name) == (True, "", f"keys/{kid}")
    assert (claims["sub"], claims["aud"], claims["scope"]) == (kid, "web", "a:read")
    assert (claims["jti"], found.has_secret) == (issued.token_id, True)
    assert found.key.client_id == "acme"
    await admin.keys.RevokeKey(keys_pb2.RevokeKeyRequest(name=found.key_name))
    with pytest.raises(grpc.RpcError) as caught:
        await issue(admin, text)
    assert fields_of(caught.value) == ["api_key"]


async def test_another_tenant_is_not_there(rig: AdminRig, admin: Stubs) -> None:
    """A key of another tenant is refused like a forged one; its token has no key to be seen."""
    _, theirs = await rig.issue(client_id="acme", tenant_id="south")
    _, ours = await rig.issue(client_id="acme", tenant_id="north")
    issuer = await rig.caller(Role.ISSUER, tenant_id="north")
    assert (await issue(issuer, ours)).access_token
    told = []
    for text in (theirs, f"{theirs[:-1]}{'a' if theirs[-1] != 'a' else 'b'}", "nonsense"):
        with pytest.raises(grpc.RpcError) as caught:
            await issue(issuer, text)
        told.append((caught.value.code(), caught.value.details()))
    assert set(told) == {told[0]}
    token = (await issue(admin, theirs)).access_token
    assert (await inspect(admin, token)).HasField("key")
    hidden = await inspect(issuer, token)
    assert (hidden.accepted, hidden.HasField("key"), hidden.has_secret) == (True, False, False)


async def test_an_issuer_gets_no_token_of_an_administrator(rig: AdminRig, admin: Stubs) -> None:
    """A key with a role is a credential of this API: only an administrator may exchange it."""
    _, text = await rig.issue([Role.ADMIN.scope])
    assert (await issue(admin, text)).access_token
    with pytest.raises(grpc.RpcError) as caught:
        await issue(await rig.caller(Role.ISSUER), text)
    assert fields_of(caught.value) == ["api_key"]


async def test_signing_keys_rotate_once_for_each_request(admin: Stubs, signing: str) -> None:
    """A repeated rotation returns the same key, and the trail has each change."""
    again = tokens_pb2.RotateSigningKeyRequest(request_id="first-key", note="the first")
    assert (await admin.tokens.RotateSigningKey(again)).signing_key.name == signing
    again.at_once = True
    with pytest.raises(grpc.RpcError) as caught:
        await admin.tokens.RotateSigningKey(again)
    assert fields_of(caught.value) == ["request_id"]

    rehearsed = tokens_pb2.RotateSigningKeyRequest(validate_only=True)
    assert not (await admin.tokens.RotateSigningKey(rehearsed)).HasField("signing_key")
    made = (await admin.tokens.RotateSigningKey(tokens_pb2.RotateSigningKeyRequest())).signing_key
    assert await states(admin) == [State.STATE_SIGNS, State.STATE_NEXT]
    delete = tokens_pb2.DeleteSigningKeyRequest(name=made.name, validate_only=True, note="leaked")
    await admin.tokens.DeleteSigningKey(delete)
    delete.validate_only = False
    await admin.tokens.DeleteSigningKey(delete)
    assert await states(admin) == [State.STATE_SIGNS]
    with pytest.raises(grpc.RpcError) as caught:
        await admin.tokens.DeleteSigningKey(delete)
    assert caught.value.code() is CODE.NOT_FOUND
    assert reason_of(caught.value) == "SIGNING_KEY_NOT_FOUND"

    found = await admin.audit.ListAuditEntries(audit_pb2.ListAuditEntriesRequest(page_size=1000))
    entry = audit_entry_pb2.AuditEntry
    about = [
        (one.action, dict(one.detail)["signing_key"], one.note)
        for one in found.entries
        if not one.key
    ]
    names = [made.name.partition("/")[2], signing.partition("/")[2]]
    assert about == [
        (entry.ACTION_REMOVE_SIGNING_KEY, names[0], "leaked"),
        (entry.ACTION_ROTATE_SIGNING_KEY, names[0], ""),
        (entry.ACTION_ROTATE_SIGNING_KEY, names[1], "the first"),
    ]
    verified = await admin.audit.VerifyAuditTrail(audit_pb2.VerifyAuditTrailRequest())
    assert verified.intact, verified.findings


async def test_a_tenant_does_not_see_changes_of_signing_keys(rig: AdminRig) -> None:
    """Changes of signing keys are for callers who see every key."""
    auditor = await rig.caller(Role.AUDITOR, tenant_id="north")
    found = await auditor.audit.ListAuditEntries(audit_pb2.ListAuditEntriesRequest(page_size=1000))
    assert all(one.key for one in found.entries)


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("IssueToken", tokens_pb2.IssueTokenRequest(), "api_key"),
        ("IssueToken", tokens_pb2.IssueTokenRequest(api_key="\x00é"), "api_key"),
        ("IssueToken", tokens_pb2.IssueTokenRequest(api_key="x" * (MAX_TEXT + 1)), "api_key"),
        ("IssueToken", tokens_pb2.IssueTokenRequest(api_key="x", scopes=["a b"]), "scopes"),
        ("IssueToken", tokens_pb2.IssueTokenRequest(api_key="x", lifetime={}), "lifetime"),
        (
            "IssueToken",
            tokens_pb2.IssueTokenRequest(api_key="x", lifetime={"seconds": -1}),
            "lifetime",
        ),
        ("IssueToken", tokens_pb2.IssueTokenRequest(api_key="x", origin="\n"), "origin"),
        ("InspectToken", tokens_pb2.InspectTokenRequest(), "token"),
        ("InspectToken", tokens_pb2.InspectTokenRequest(token="x" * (MAX_TEXT + 1)), "token"),
        ("RotateSigningKey", tokens_pb2.RotateSigningKeyRequest(note="a\nb"), "note"),
        ("RotateSigningKey", tokens_pb2.RotateSigningKeyRequest(request_id="x"), "request_id"),
        ("DeleteSigningKey", tokens_pb2.DeleteSigningKeyRequest(name="k1"), "name"),
        ("DeleteSigningKey", tokens_pb2.DeleteSigningKeyRequest(name="signingKeys/"), "name"),
    ],
)
async def test_wrong_fields_are_named(admin: Stubs, method: str, request_, field: str) -> None:
    """A wrong field of a request is named, and its text is not repeated if it may be a secret."""
    with pytest.raises(grpc.RpcError) as caught:
        await getattr(admin.tokens, method)(request_)
    assert caught.value.code() is CODE.INVALID_ARGUMENT
    assert fields_of(caught.value) == [field]
    assert "xxx" not in caught.value.details()


@pytest.mark.parametrize(
    "token", ["nonsense", "eyJhbGciOiJub25lIn0.e30.", "\x00", "a.b.c", "ÿ" * 100]
)
async def test_a_text_that_is_no_token_is_not_accepted(admin: Stubs, token: str) -> None:
    """Any text gets an answer: it is not accepted, and has no claims."""
    found = await inspect(admin, token)
    assert (found.accepted, found.reason != "", found.HasField("claims")) == (False, True, False)


async def test_without_an_issuer_there_are_no_tokens(rig: AdminRig) -> None:
    """Every method says that the settings have no issuer."""
    bare = rig.settings.changed(tokens=rig.settings.tokens.changed(issuer=""))
    async with admin_rig(bare, initialise=False) as other:
        _, text = await rig.issue([Role.ADMIN.scope])
        stubs = other.stubs(text)
        for call in (
            stubs.tokens.IssueToken(tokens_pb2.IssueTokenRequest(api_key="x")),
            stubs.tokens.InspectToken(tokens_pb2.InspectTokenRequest(token="x")),
            stubs.tokens.ListSigningKeys(tokens_pb2.ListSigningKeysRequest()),
            stubs.tokens.RotateSigningKey(tokens_pb2.RotateSigningKeyRequest()),
            stubs.tokens.DeleteSigningKey(tokens_pb2.DeleteSigningKeyRequest(name="signingKeys/a")),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                await call
            assert caught.value.code() is CODE.FAILED_PRECONDITION
            assert "tokens.issuer" in caught.value.details()
