"""The Keys service: one key at a time."""

import asyncio

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from authz.rpc.admin import key_lists
from authz.rpc.pb.admin.v1 import audit_entry_pb2, key_pb2, keys_pb2
from tests.support.rpc.admin import AdminRig, Stubs, fields_of, reason_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

Key = key_pb2.Key
CODE = grpc.StatusCode
NAMES = "keys/{}".format
UNKNOWN = NAMES("0" * 16)


async def created(stubs: Stubs, **fields) -> keys_pb2.CreateKeyResponse:
    """Issue a key of client acme with these fields."""
    return await stubs.keys.CreateKey(
        keys_pb2.CreateKeyRequest(key=Key(**{"client_id": "acme"} | fields))
    )


async def fetched(stubs: Stubs, name: str) -> Key:
    """Return a key."""
    return (await stubs.keys.GetKey(keys_pb2.GetKeyRequest(name=name))).key


async def verified(stubs: Stubs, text: str) -> keys_pb2.VerifyKeyResponse:
    """Return the decision on a request with this key."""
    return await stubs.keys.VerifyKey(keys_pb2.VerifyKeyRequest(api_key=text))


async def failure(call) -> grpc.aio.AioRpcError:
    """Return the error of a call."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


# create


async def test_orders_of_a_list(admin: Stubs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list comes in the order that was asked for; other orders than of creation are bounded."""
    names = {}
    for display_name, plan in (("b", ""), ("a", "standard"), ("c", "")):
        answer = await created(admin, client_id="ordered", display_name=display_name, plan=plan)
        names[display_name] = answer.key.name

    async def listed(order_by: str, size: int = 2) -> list[str]:
        found, token = [], ""
        while True:
            request = keys_pb2.ListKeysRequest(
                page_size=size,
                page_token=token,
                filter='search = "ORDER"',
                order_by=order_by,
            )
            page = await admin.keys.ListKeys(request)
            found += [key.display_name for key in page.keys]
            token = page.next_page_token
            if not token:
                return found

    assert await listed("") == await listed("create_time") == ["b", "a", "c"]
    assert await listed("create_time desc") == ["c", "a", "b"]
    assert await listed("display_name", 3) == ["a", "b", "c"]
    assert await listed("display_name desc") == ["c", "b"]  # one page
    assert (await listed("plan desc"))[0] == "a"
    for wrong in ("name", "plan down", "plan desc desc", "plan, status"):
        error = await failure(admin.keys.ListKeys(keys_pb2.ListKeysRequest(order_by=wrong)))
        assert fields_of(error) == ["order_by"]
    monkeypatch.setattr(key_lists, "MAX_SORTED", 2)
    error = await failure(admin.keys.ListKeys(keys_pb2.ListKeysRequest(order_by="plan")))
    assert (error.code(), reason_of(error)) == (CODE.FAILED_PRECONDITION, "TOO_MANY_KEYS")


async def test_verify_by_name(admin: Stubs) -> None:
    """A key is verified by its name as with the newest secret that works, without its text."""
    name = (await created(admin, scopes=["a:read"])).key.name

    async def decided(**fields) -> keys_pb2.VerifyKeyResponse:
        return await admin.keys.VerifyKey(keys_pb2.VerifyKeyRequest(name=name, **fields))

    assert (await decided(required_scopes=["a:read"])).allowed
    denied = await decided(required_scopes=["a:write"])
    assert (denied.allowed, denied.reason) == (False, "insufficient_scope")
    rotation = keys_pb2.RotateKeyRequest(name=name, overlap=Duration(seconds=0))
    await admin.keys.RotateKey(rotation)
    assert (await decided()).allowed
    await admin.keys.RevokeKey(keys_pb2.RevokeKeyRequest(name=name))
    assert (await decided()).reason == "revoked"
    both = keys_pb2.VerifyKeyRequest(name=name, api_key="x" * 40)
    assert fields_of(await failure(admin.keys.VerifyKey(both))) == ["name"]
    unknown = await admin.keys.VerifyKey(keys_pb2.VerifyKeyRequest(name=UNKNOWN))
    assert unknown.reason == "unknown_key"


async def test_create(admin: Stubs) -> None:
    """A key with every field is issued, read and verified; the text is in the one response."""
    wanted = Key(
        display_name="the shop",
        client_id="acme",
        project_id="web",
        tenant_id="north",
        plan="standard",
        limits=[key_pb2.Limit(spec="20/s,burst=5")],
        on_outage=Key.ON_OUTAGE_DENY,
        scopes=["models:read"],
        env=Key.ENVIRONMENT_TEST,
        not_before_time=Timestamp(seconds=1_700_000_000),
        expire_time=Timestamp(seconds=4_000_000_000),
        allowed_cidrs=["10.0.0.0/8"],
        allowed_hosts=["api.example.com"],
        allowed_origins=["https://app.example.com"],
        metadata={"team": "core"},
        outage_grace=Duration(seconds=5),
    )
    response = await admin.keys.CreateKey(keys_pb2.CreateKeyRequest(key=wanted, note="because"))
    key = await fetched(admin, response.key.name)
    assert key == response.key
    for field, value in wanted.ListFields():
        if field.name != "limits":
            assert getattr(key, field.name) == value
    (limit,) = key.limits
    assert (limit.spec, limit.amount, limit.period, limit.burst) == ("20/s,burst=5", 20, "s", 5)
    assert key.etag == str(key.version)
    assert response.outcome.changed
    assert response.api_key.startswith("ak_test_")
    assert response.api_key not in str(key)


async def test_a_publishable_key(admin: Stubs) -> None:
    """Its kind is shown and never changes, and VerifyKey decides for a marked route, too."""
    origins = ["https://app.example.com"]
    response = await created(admin, public=True, allowed_origins=origins)
    assert response.api_key.startswith("pk_live_")
    assert [limit.spec for limit in response.key.limits] == ["10/s", "10000/d"]
    assert (await fetched(admin, response.key.name)).public
    for public_route in (False, True):
        request = keys_pb2.VerifyKeyRequest(
            api_key=response.api_key, origin=origins[0], public_route=public_route
        )
        found = await admin.keys.VerifyKey(request)
        assert found.allowed is public_route
        assert found.reason == ("" if public_route else "public_key_not_allowed")

    name, mask = response.key.name, FieldMask(paths=["public"])
    secret = (await created(admin)).key.name
    for key, paths, wrong in (
        (Key(name=secret, public=True, display_name="x"), None, "key.public"),
        (Key(name=secret, public=True), mask, "key.public"),
        (Key(name=name), mask, "update_mask"),
        (Key(name=name), FieldMask(paths=["allowed_origins"]), "key.allowed_origins"),
        (Key(name=name), FieldMask(paths=["limits"]), "key.limits"),
    ):
        request = keys_pb2.UpdateKeyRequest(key=key, update_mask=paths)
        assert fields_of(await failure(admin.keys.UpdateKey(request))) == [wrong]
    assert not (await fetched(admin, secret)).public


async def test_the_end_of_a_key(admin: Stubs) -> None:
    """By default a key lives for 90 days; it may live for another time, or for ever."""
    now = (await created(admin)).key
    assert now.expire_time.seconds - now.create_time.seconds == 90 * 86_400
    short = (await created(admin, ttl=Duration(seconds=60))).key
    assert short.expire_time.ToMilliseconds() - short.create_time.ToMilliseconds() == 60_000
    assert (await created(admin, never_expires=True)).key.never_expires


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"client_id": ""}, "key.client_id"),
        ({"client_id": "a b"}, "key.client_id"),
        ({"plan": "gold"}, "key.plan"),
        ({"scopes": ["a b"]}, "key.scopes"),
        ({"limits": [key_pb2.Limit(spec="ten")]}, "key.limits"),
        ({"allowed_cidrs": ["10.0.0.1/8"]}, "key.allowed_cidrs"),
        ({"ttl": Duration()}, "key.ttl"),
        ({"ttl": Duration(seconds=-1)}, "key.ttl"),
        ({"expire_time": Timestamp(seconds=1)}, "key.expire_time"),
        ({"expire_time": Timestamp(seconds=-1)}, "key.expire_time"),
        ({"never_expires": False}, "key.never_expires"),
        ({"outage_grace": Duration(seconds=86_401)}, "key.outage_grace"),
        ({"metadata": {"a b": "c"}}, "key.metadata"),
        ({"display_name": "a\nb"}, "key.display_name"),
        ({"public": True}, "key.allowed_origins"),
    ],
)
async def test_a_bad_field_is_named(admin: Stubs, fields, wrong: str) -> None:
    """A wrong value is INVALID_ARGUMENT and names the field by its path."""
    error = await failure(created(admin, **fields))
    assert error.code() is CODE.INVALID_ARGUMENT
    assert reason_of(error) == "INVALID_FIELD"
    assert fields_of(error) == [wrong]
    assert error.details().startswith(f"{wrong}: ")


async def test_validate_only_issues_nothing(admin: Stubs) -> None:
    """A rehearsal returns the key without name and text, or the error; nothing is issued."""
    request = keys_pb2.CreateKeyRequest(key=Key(client_id="rehearsed"), validate_only=True)
    response = await admin.keys.CreateKey(request)
    assert (response.key.client_id, response.key.name, response.api_key) == ("rehearsed", "", "")
    assert not response.outcome.changed
    request.key.client_id = "a b"
    assert (await failure(admin.keys.CreateKey(request))).code() is CODE.INVALID_ARGUMENT
    listed = await admin.keys.ListKeys(keys_pb2.ListKeysRequest(filter="client_id=rehearsed"))
    assert list(listed.keys) == []


async def test_a_repeated_create(admin: Stubs) -> None:
    """The same request id gives the same response, and another content is refused."""
    request = keys_pb2.CreateKeyRequest(key=Key(client_id="repeated"), request_id="6b1d7f2e-0001")
    first, *others = await asyncio.gather(*(admin.keys.CreateKey(request) for _ in range(8)))
    assert {(each.key.name, each.api_key, each.key.version) for each in others} == {
        (first.key.name, first.api_key, first.key.version)
    }
    listed = await admin.keys.ListKeys(keys_pb2.ListKeysRequest(filter="client_id=repeated"))
    assert len(listed.keys) == 1
    request.key.client_id = "other"
    error = await failure(admin.keys.CreateKey(request))
    assert (error.code(), fields_of(error)) == (CODE.INVALID_ARGUMENT, ["request_id"])
    request.request_id = "short"
    assert fields_of(await failure(admin.keys.CreateKey(request))) == ["request_id"]


# get


@pytest.mark.parametrize("name", ["", "keys/", "keys/short", "clients/acme", NAMES("a" * 16 + "/")])
async def test_a_bad_name(admin: Stubs, name: str) -> None:
    """A text that names no key is INVALID_ARGUMENT."""
    error = await failure(fetched(admin, name))
    assert (error.code(), fields_of(error)) == (CODE.INVALID_ARGUMENT, ["name"])


async def test_an_unknown_key(admin: Stubs) -> None:
    """A key that does not exist is NOT_FOUND."""
    error = await failure(fetched(admin, UNKNOWN))
    assert (error.code(), reason_of(error)) == (CODE.NOT_FOUND, "KEY_NOT_FOUND")


# update


async def test_update_by_mask(admin: Stubs) -> None:
    """The mask says which fields are set; a named field without a value becomes empty."""
    key = (await created(admin, display_name="old", project_id="web")).key
    request = keys_pb2.UpdateKeyRequest(
        key=Key(name=key.name, display_name="new", tenant_id="ignored"),
        update_mask=FieldMask(paths=["display_name", "project_id"]),
    )
    response = await admin.keys.UpdateKey(request)
    assert (response.key.display_name, response.key.project_id) == ("new", "")
    assert response.key.tenant_id == ""
    assert response.outcome.changed
    again = await admin.keys.UpdateKey(request)
    assert not again.outcome.changed
    assert again.outcome.detail


async def test_a_key_that_was_read_can_be_sent_back(admin: Stubs) -> None:
    """Without a mask every field with a value is set, and fields of the server are ignored."""
    key = (await created(admin, scopes=["a:b"], metadata={"team": "core"})).key
    key.display_name = "new"
    response = await admin.keys.UpdateKey(keys_pb2.UpdateKeyRequest(key=key))
    assert response.key.display_name == "new"
    assert (response.key.scopes, response.key.expire_time) == (key.scopes, key.expire_time)
    error = await failure(admin.keys.UpdateKey(keys_pb2.UpdateKeyRequest(key=key)))
    assert (error.code(), reason_of(error)) == (CODE.ABORTED, "VERSION_CONFLICT")


@pytest.mark.parametrize(
    ("paths", "fields", "wrong"),
    [
        (["nothing"], {}, "update_mask"),
        (["status"], {}, "update_mask"),
        (["name"], {}, "update_mask"),
        (["expiration"], {}, "update_mask"),
        (["client_id"], {}, "key.client_id"),
        (["expire_time"], {}, "key"),
        (["*"], {"client_id": "acme"}, "key"),
        ([], {}, "update_mask"),
        ([], {"env": Key.ENVIRONMENT_TEST}, "key.env"),
    ],
)
async def test_a_bad_update(admin: Stubs, paths, fields, wrong: str) -> None:
    """A path that cannot be set, and a value that cannot be, are refused."""
    key = (await created(admin)).key
    request = keys_pb2.UpdateKeyRequest(
        key=Key(name=key.name, **fields), update_mask=FieldMask(paths=paths)
    )
    error = await failure(admin.keys.UpdateKey(request))
    assert (error.code(), fields_of(error)) == (CODE.INVALID_ARGUMENT, [wrong])
    assert await fetched(admin, key.name) == key


async def test_scopes_are_added_and_removed(admin: Stubs) -> None:
    """Scopes can be changed without a list of all; both ways at once are refused."""
    key = (await created(admin, scopes=["a:b", "c:d"])).key
    request = keys_pb2.UpdateKeyRequest(
        key=Key(name=key.name), add_scopes=["e:f"], remove_scopes=["a:b"]
    )
    assert list((await admin.keys.UpdateKey(request)).key.scopes) == ["c:d", "e:f"]
    request.key.scopes.append("g:h")
    assert fields_of(await failure(admin.keys.UpdateKey(request))) == ["add_scopes"]


async def test_a_rehearsed_update(admin: Stubs) -> None:
    """`validate_only` returns the key as it would be, and changes nothing."""
    key = (await created(admin)).key
    request = keys_pb2.UpdateKeyRequest(
        key=Key(name=key.name, display_name="new"), validate_only=True
    )
    response = await admin.keys.UpdateKey(request)
    assert response.key.display_name == "new"
    assert not response.outcome.changed
    assert await fetched(admin, key.name) == key


# secrets


async def test_rotate_and_retire(admin: Stubs) -> None:
    """Both secrets work until one is retired; the only one cannot be."""
    first = await created(admin)
    name = first.key.name
    request = keys_pb2.RotateKeyRequest(name=name, request_id="6b1d7f2e-0002")
    second = await admin.keys.RotateKey(request)
    again = await admin.keys.RotateKey(request)
    assert (again.api_key, again.key) == (second.api_key, second.key)
    assert (await verified(admin, first.api_key)).allowed
    assert (await verified(admin, second.api_key)).allowed
    retire = keys_pb2.RetireKeySecretRequest(name=name, secret="old")
    assert (await admin.keys.RetireKeySecret(retire)).outcome.changed
    assert (await verified(admin, first.api_key)).reason == "secret_retired"
    assert (await verified(admin, second.api_key)).allowed
    error = await failure(admin.keys.RetireKeySecret(retire))
    assert (error.code(), reason_of(error)) == (CODE.FAILED_PRECONDITION, "STATE_FORBIDS")
    retire.secret = "both"
    assert fields_of(await failure(admin.keys.RetireKeySecret(retire))) == ["secret"]


async def test_rotate_without_overlap(admin: Stubs) -> None:
    """With an overlap of 0 the old secret stops at once; a rehearsal has no text."""
    first = await created(admin)
    request = keys_pb2.RotateKeyRequest(name=first.key.name, overlap=Duration(), validate_only=True)
    rehearsed = await admin.keys.RotateKey(request)
    assert (rehearsed.api_key, len(rehearsed.key.secrets)) == ("", 2)
    assert (await verified(admin, first.api_key)).allowed
    request.validate_only = False
    await admin.keys.RotateKey(request)
    assert not (await verified(admin, first.api_key)).allowed


async def test_a_repeated_rotation_with_an_etag(admin: Stubs) -> None:
    """The repetition of a rotation succeeds, although the first one changed the etag."""
    key = (await created(admin)).key
    request = keys_pb2.RotateKeyRequest(name=key.name, etag=key.etag, request_id="6b1d7f2e-0003")
    first = await admin.keys.RotateKey(request)
    assert (await admin.keys.RotateKey(request)).api_key == first.api_key
    request.request_id = "6b1d7f2e-0004"
    assert (await failure(admin.keys.RotateKey(request))).code() is CODE.ABORTED


# status


async def test_status(admin: Stubs) -> None:
    """A key is disabled, enabled and revoked; revoked is final, and repetitions change nothing."""
    issued = await created(admin)
    name = issued.key.name
    disable = keys_pb2.DisableKeyRequest(name=name, validate_only=True)
    assert (await admin.keys.DisableKey(disable)).key.status == Key.STATUS_DISABLED
    assert (await verified(admin, issued.api_key)).allowed
    disable.validate_only = False
    assert (await admin.keys.DisableKey(disable)).outcome.changed
    assert not (await admin.keys.DisableKey(disable)).outcome.changed
    assert (await verified(admin, issued.api_key)).reason == "disabled"
    await admin.keys.EnableKey(keys_pb2.EnableKeyRequest(name=name))
    revoke = keys_pb2.RevokeKeyRequest(
        name=name, reason=Key.REVOCATION_REASON_KEY_COMPROMISE, wait_time=Duration(seconds=1)
    )
    revoked = await admin.keys.RevokeKey(revoke)
    assert revoked.key.revocation_reason == Key.REVOCATION_REASON_KEY_COMPROMISE
    assert revoked.key.HasField("revoke_time")
    assert revoked.outcome.confirmation.complete
    assert revoked.outcome.confirmation.sidecars == 0
    error = await failure(admin.keys.EnableKey(keys_pb2.EnableKeyRequest(name=name)))
    assert error.code() is CODE.FAILED_PRECONDITION


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"wait_time": Duration(seconds=61)}, "wait_time"),
        ({"etag": "x"}, "etag"),
        ({"note": "a\nb"}, "note"),
        ({"note": "n" * 257}, "note"),
    ],
)
async def test_bad_options_of_a_change(admin: Stubs, fields, wrong: str) -> None:
    """A wait, an etag or a note that cannot be is refused, and the key stays."""
    key = (await created(admin)).key
    request = keys_pb2.RevokeKeyRequest(name=key.name, **fields)
    assert fields_of(await failure(admin.keys.RevokeKey(request))) == [wrong]
    assert await fetched(admin, key.name) == key


# history and verification


async def test_history(rig: AdminRig, admin: Stubs) -> None:
    """Each change is listed with author, source, request id and note, newest first, in pages."""
    issued = await created(admin)
    await admin.keys.UpdateKey(
        keys_pb2.UpdateKeyRequest(key=Key(name=issued.key.name, display_name="new"), note="why"),
        metadata=(*admin.metadata, ("x-request-id", "call-17")),
    )
    request = keys_pb2.ListKeyHistoryRequest(parent=issued.key.name, page_size=1)
    page = await admin.keys.ListKeyHistory(request)
    (entry,) = page.entries
    assert entry.action == audit_entry_pb2.AuditEntry.ACTION_UPDATE
    assert entry.actor.startswith("key:")
    assert entry.source.startswith("127.0.0.1 grpc-python")
    assert (entry.note, entry.request_id) == ("why", "call-17")
    assert (
        entry.detail["display_name" if "display_name" in entry.detail else "name"]["new"] == "new"
    )
    request.page_token = page.next_page_token
    page = await admin.keys.ListKeyHistory(request)
    (entry,) = page.entries
    assert entry.action == audit_entry_pb2.AuditEntry.ACTION_ISSUE
    assert entry.detail["expires_at"].endswith("Z")
    assert (page.next_page_token, page.lost_version) == ("", 0)


async def test_verify(admin: Stubs) -> None:
    """The decision has every check, the key and the use of its limits."""
    issued = await created(
        admin, scopes=["a:b"], allowed_cidrs=["10.0.0.0/8"], plan="standard", tenant_id="north"
    )
    request = keys_pb2.VerifyKeyRequest(
        api_key=issued.api_key,
        method="POST",
        host="api.example.com",
        path="/v1/models?x=1",
        client_address="10.1.2.3",
        required_scopes=["a:b"],
        required_env=Key.ENVIRONMENT_LIVE,
        cost=2,
    )
    response = await admin.keys.VerifyKey(request)
    assert response.allowed
    assert [check.check_name for check in response.checks][-1] == "limits"
    assert response.key.name == issued.key.name
    assert [use.remaining for use in response.limits.limits] == [10, 1000]
    request.client_address = "192.0.2.1"
    refused = await admin.keys.VerifyKey(request)
    assert (refused.allowed, refused.reason) == (False, "address_not_allowed")
    assert [check.check_name for check in refused.checks if not check.passed] == ["address"]
    assert (await verified(admin, "")).reason == "missing_credential"
    mistyped = issued.api_key[:-1] + ("1" if issued.api_key.endswith("0") else "0")
    assert (await verified(admin, mistyped)).reason == "malformed"


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"api_key": "a,b"}, "api_key"),
        ({"api_key": "k" * 600}, "api_key"),
        ({"method": "get"}, "method"),
        ({"path": "x"}, "path"),
        ({"host": "a b"}, "host"),
        ({"client_address": "10.0.0"}, "client_address"),
        ({"cost": -1}, "cost"),
        ({"model": "a\nb"}, "model"),
        ({"required_scopes": ["a b"]}, "required_scopes"),
    ],
)
async def test_a_request_that_cannot_be(admin: Stubs, fields, wrong: str) -> None:
    """A part of a request that no client could send is refused and named."""
    error = await failure(admin.keys.VerifyKey(keys_pb2.VerifyKeyRequest(**fields)))
    assert fields_of(error) == [wrong]
