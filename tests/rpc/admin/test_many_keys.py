"""The Keys service: lists, exports, imports, and changes of many keys."""

from hashlib import sha256

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from authz.core.roles import Role
from authz.rpc.pb.admin.v1 import key_pb2, keys_pb2
from tests.support.rpc.admin import AdminRig, Stubs, fields_of, reason_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

Key = key_pb2.Key
CODE = grpc.StatusCode


async def listed(stubs: Stubs, text: str, size: int = 1000) -> list[str]:
    """Return the display names of all pages of a list."""
    names, token = [], ""
    while True:
        request = keys_pb2.ListKeysRequest(filter=text, page_size=size, page_token=token)
        page = await stubs.keys.ListKeys(request)
        assert len(page.keys) <= size
        names += [key.display_name for key in page.keys]
        token = page.next_page_token
        if not token:
            return names


async def create(stubs: Stubs, client: str, name: str, **fields) -> keys_pb2.CreateKeyResponse:
    """Issue a key."""
    key = Key(client_id=client, display_name=name, **fields)
    return await stubs.keys.CreateKey(keys_pb2.CreateKeyRequest(key=key))


# lists


async def test_pages(admin: Stubs) -> None:
    """The pages of a list have every key once, oldest first."""
    names = [f"n{number}" for number in range(7)]
    for name in names:
        await create(admin, "pages", name)
    assert await listed(admin, "client_id = pages", 3) == names
    assert await listed(admin, 'client_id = pages AND display_name = "n[3*"') == []
    assert await listed(admin, "client_id = pages AND display_name = n?") == names


async def test_filters(admin: Stubs) -> None:
    """Each field of a filter selects."""
    await create(admin, "filters", "a", project_id="web", metadata={"team": "core"})
    await create(admin, "filters", "b", plan="standard", ttl=Duration(seconds=60))
    revoked = await create(admin, "filters", "c", env=Key.ENVIRONMENT_TEST)
    await admin.keys.RevokeKey(keys_pb2.RevokeKeyRequest(name=revoked.key.name))
    for text, names in {
        "project_id = web": ["a"],
        "metadata.team = core": ["a"],
        "plan = standard": ["b"],
        "env = test": ["c"],
        "status = STATUS_REVOKED": ["c"],
        "status = active": ["a", "b"],
        'expire_time < "2028-01-01T00:00:00Z" AND display_name = "b"': ["b"],
        'create_time < "2020-01-01T00:00:00Z"': [],
    }.items():
        assert await listed(admin, f"client_id = filters AND {text}") == names, text


async def test_a_token_belongs_to_its_list(rig: AdminRig, admin: Stubs) -> None:
    """A token of another filter, of another caller, or a changed one is refused."""
    for name in "ab":
        await create(admin, "tokens", name)
    request = keys_pb2.ListKeysRequest(filter="client_id = tokens", page_size=1)
    token = (await admin.keys.ListKeys(request)).next_page_token
    other = await rig.caller(Role.ADMIN)
    for stubs, text, used in (
        (admin, "client_id = other", token),
        (other, "client_id = tokens", token),
        (admin, "client_id = tokens", f"{token[:-2]}xx"),
        (admin, "client_id = tokens", "7Hk2mQ9xT4bVzR1c-1764547200000"),
        (admin, "client_id = tokens", "x" * 600),
        (admin, "client_id = tokens", "\N{SNOWMAN}"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stubs.keys.ListKeys(keys_pb2.ListKeysRequest(filter=text, page_token=used))
        assert fields_of(caught.value) == ["page_token"]


async def test_bad_lists(admin: Stubs) -> None:
    """A wrong filter or page size is refused and named."""
    for request, wrong in (
        (keys_pb2.ListKeysRequest(filter="client = acme"), "filter"),
        (keys_pb2.ListKeysRequest(page_size=-1), "page_size"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await admin.keys.ListKeys(request)
        assert fields_of(caught.value) == [wrong]


async def test_a_record_that_cannot_be_read(rig: AdminRig, admin: Stubs) -> None:
    """A list names it, an export too, and GetKey is DATA_LOSS without the text of the record."""
    key = (await create(admin, "garbled", "a")).key
    await rig.garble(key.name.removeprefix("keys/"))
    page = await admin.keys.ListKeys(keys_pb2.ListKeysRequest(filter="client_id = garbled"))
    assert [each.name for each in page.unreadable] == [key.name]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await admin.keys.GetKey(keys_pb2.GetKeyRequest(name=key.name))
    assert (caught.value.code(), reason_of(caught.value)) == (CODE.DATA_LOSS, "RECORD_UNREADABLE")
    exported = admin.keys.ExportKeys(keys_pb2.ExportKeysRequest(filter="client_id = garbled"))
    assert [each.unreadable.name async for each in exported] == [key.name]


async def test_export(admin: Stubs) -> None:
    """An export has every key as GetKey has it."""
    keys = [(await create(admin, "export", name)).key for name in "abc"]
    exported = admin.keys.ExportKeys(keys_pb2.ExportKeysRequest(filter="client_id = export"))
    assert [each.key async for each in exported] == keys


# changes of many keys


async def change(stubs: Stubs, text: str, **change) -> list[keys_pb2.ChangeKeysResponse]:
    """Change the keys of a filter, and return the outcomes."""
    request = keys_pb2.ChangeKeysRequest(filter=text, **change)
    return [each async for each in stubs.keys.ChangeKeys(request)]


async def test_change_keys(admin: Stubs) -> None:
    """Each kind of change is made to every key that matches, with an outcome for each key."""
    issued = [await create(admin, "bulk", name, scopes=["a:b"]) for name in "abc"]
    names = {each.key.name for each in issued}
    text = "client_id = bulk"
    update = keys_pb2.ChangeKeysRequest.Update(key=Key(project_id="web"), add_scopes=["c:d"])
    done = await change(admin, text, update=update, note="moved")
    assert {each.name for each in done} == names
    assert {(each.key.project_id, tuple(each.key.scopes)) for each in done} == {
        ("web", ("a:b", "c:d"))
    }
    rotated = await change(admin, text, rotate=keys_pb2.ChangeKeysRequest.Rotate())
    for each in rotated:
        verdict = await admin.keys.VerifyKey(keys_pb2.VerifyKeyRequest(api_key=each.api_key))
        assert verdict.key.name == each.name
        assert verdict.allowed
    disabled = await change(admin, text, disable=keys_pb2.ChangeKeysRequest.Disable())
    assert {each.key.status for each in disabled} == {Key.STATUS_DISABLED}
    enabled = await change(admin, text, enable=keys_pb2.ChangeKeysRequest.Enable())
    assert all(each.outcome.changed for each in enabled)
    *revoked, last = await change(
        admin, text, revoke=keys_pb2.ChangeKeysRequest.Revoke(), wait_time=Duration(seconds=1)
    )
    assert {each.key.status for each in revoked} == {Key.STATUS_REVOKED}
    assert (last.name, last.confirmation.complete) == ("", True)
    again = await change(admin, text, enable=keys_pb2.ChangeKeysRequest.Enable())
    assert all(each.error for each in again)


async def test_named_keys(rig: AdminRig, admin: Stubs) -> None:
    """With names only these keys are changed, if they match and the caller may see them."""
    mine = [
        (await create(admin, "named", name, tenant_id="north")).key.name for name in ("a", "b", "c")
    ]
    other = (await create(admin, "named", "d", tenant_id="south")).key.name
    missing = "keys/7Hk2mQ9xT4bVzR1c"
    await admin.keys.RevokeKey(keys_pb2.RevokeKeyRequest(name=mine[1]))
    asked = [mine[0], mine[1], mine[0], other, missing]
    north = await rig.caller(Role.ADMIN, tenant_id="north")
    done = await change(
        north,
        "client_id = named AND display_name = a",
        disable=keys_pb2.ChangeKeysRequest.Disable(),
        names=asked,
    )
    found = {each.name: (each.outcome.changed, each.reason) for each in done}
    assert found == {
        mine[0]: (True, ""),
        mine[1]: (False, "NO_LONGER_MATCHES"),
        other: (False, "KEY_NOT_FOUND"),
        missing: (False, "KEY_NOT_FOUND"),
    }
    again = await change(
        north, "", enable=keys_pb2.ChangeKeysRequest.Enable(), names=[mine[1], mine[2]]
    )
    assert {each.name: each.reason for each in again} == {mine[1]: "STATE_FORBIDS", mine[2]: ""}
    for names, most in (([mine[0], mine[2]], 1), ([mine[0]] * 10_001, 0), (["keys/x"], 0)):
        with pytest.raises(grpc.aio.AioRpcError):
            await change(
                north,
                "",
                enable=keys_pb2.ChangeKeysRequest.Enable(),
                names=names,
                max_keys=most,
            )


async def test_many_keys_of_which_one_was_altered(rig: AdminRig, admin: Stubs) -> None:
    """A record with a wrong seal is revoked among others, but by no caller of one tenant."""
    names = {(await create(admin, "altered", each, tenant_id="north")).key.name for each in "ab"}
    altered = min(names)
    await rig.alter(altered.removeprefix("keys/"), "display_name", "x")
    north = await rig.caller(Role.ADMIN, tenant_id="north")
    revoke = keys_pb2.ChangeKeysRequest.Revoke()
    found = await change(north, "client_id = altered", revoke=revoke, validate_only=True)
    assert {each.name for each in found} == names - {altered}
    for is_rehearsed in (True, False):
        found = await change(
            admin, "client_id = altered", revoke=revoke, validate_only=is_rehearsed
        )
        assert {each.name: each.reason for each in found} == dict.fromkeys(names, "")
    found = await admin.keys.GetKey(keys_pb2.GetKeyRequest(name=altered))
    assert found.key.status == Key.STATUS_REVOKED


async def test_credits(admin: Stubs) -> None:
    """Credits are set, added to, kept beside new limits and removed, of one key and of many."""
    limits = [key_pb2.Limit(spec="5/s"), key_pb2.Limit(spec="100/once")]
    name = (await create(admin, "credits", "a", limits=limits)).key.name

    async def update(text: str, *paths: str, **fields) -> list[str]:
        key = Key(name=name, **fields)
        request = keys_pb2.UpdateKeyRequest(key=key, credits=text)
        request.update_mask.paths.extend(paths or ["display_name"])
        found = (await admin.keys.UpdateKey(request)).key.limits
        return [limit.spec for limit in found]

    assert await update("+50") == ["5/s", "150/once"]
    seven = [key_pb2.Limit(spec="7/s")]
    assert await update("keep", "limits", limits=seven) == ["7/s", "150/once"]
    assert await update("20") == ["7/s", "20/once"]
    many = keys_pb2.ChangeKeysRequest.Update(credits="30")
    (done,) = await change(admin, "client_id = credits", update=many)
    assert [limit.spec for limit in done.key.limits] == ["7/s", "30/once"]
    assert await update("none") == ["7/s"]
    for text, code in (("+1", CODE.FAILED_PRECONDITION), ("x", CODE.INVALID_ARGUMENT)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await update(text)
        assert caught.value.code() is code
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await update("5", "limits", limits=limits)
    assert fields_of(caught.value) == ["credits"]


async def test_delete_keys(rig: AdminRig, admin: Stubs) -> None:
    """Dead keys are deleted, others only by force; a rehearsal deletes none."""
    issued = [(await create(admin, "dead", name)).key for name in "ab"]
    await admin.keys.RevokeKey(keys_pb2.RevokeKeyRequest(name=issued[0].name))
    delete = keys_pb2.ChangeKeysRequest.Delete()
    text = "client_id = dead"
    rehearsed = await change(admin, text, delete=delete, validate_only=True)
    assert [(bool(each.error), each.outcome.changed) for each in rehearsed] == [
        (False, False),
        (True, False),
    ]
    issuer = await rig.caller(Role.ISSUER)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await change(issuer, text, delete=delete)
    assert caught.value.code() is CODE.PERMISSION_DENIED
    assert await listed(admin, text) == ["a", "b"]
    await change(admin, text, delete=delete)
    assert await listed(admin, text) == ["b"]
    *done, last = await change(
        admin,
        text,
        delete=keys_pb2.ChangeKeysRequest.Delete(force=True),
        wait_time=Duration(seconds=1),
    )
    assert ([each.outcome.changed for each in done], last.confirmation.complete) == ([True], True)
    assert await listed(admin, text) == []


async def test_a_rehearsed_change_of_many_keys(admin: Stubs) -> None:
    """`validate_only` tells each outcome and changes nothing."""
    key = (await create(admin, "rehearsal", "a")).key
    disable = keys_pb2.ChangeKeysRequest.Disable()
    (done,) = await change(admin, "client_id = rehearsal", disable=disable, validate_only=True)
    assert (done.key.status, done.outcome.changed) == (Key.STATUS_DISABLED, False)
    (found,) = (
        await admin.keys.ListKeys(keys_pb2.ListKeysRequest(filter="client_id = rehearsal"))
    ).keys
    assert found == key


async def test_bad_changes_of_many_keys(admin: Stubs) -> None:
    """No filter, no change, too many keys: the whole request is refused."""
    for name in "ab":
        await create(admin, "most", name)
    disable = keys_pb2.ChangeKeysRequest.Disable()
    for text, fields, code in (
        (" ", {"disable": disable}, CODE.INVALID_ARGUMENT),
        ("client_id = most", {}, CODE.INVALID_ARGUMENT),
        ("client_id = most", {"disable": disable, "max_keys": -1}, CODE.INVALID_ARGUMENT),
        ("client_id = most", {"disable": disable, "max_keys": 1}, CODE.FAILED_PRECONDITION),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await change(admin, text, **fields)
        assert caught.value.code() is code
    assert await listed(admin, "client_id = most AND status = active") == ["a", "b"]


# imports


def entry(text: str, **fields) -> keys_pb2.ImportKeysRequest.Entry:
    """Return one key to import."""
    return keys_pb2.ImportKeysRequest.Entry(
        api_key=text, key=Key(**{"client_id": "import"} | fields)
    )


async def imported(
    stubs: Stubs, *batches: list[keys_pb2.ImportKeysRequest.Entry], validate_only: bool = False
) -> list[keys_pb2.ImportKeysResponse.Outcome]:
    """Import batches over one stream, and return the outcomes of all entries."""
    requests = [
        keys_pb2.ImportKeysRequest(entries=batch, validate_only=validate_only) for batch in batches
    ]
    responses = await stubs.import_keys(requests)
    assert len(responses) == len(batches)
    return [outcome for each in responses for outcome in each.outcomes]


async def test_import(admin: Stubs) -> None:
    """Keys are imported once; a bad entry is told by its field, and the others are imported."""
    good, other = "sk-0123456789abcdef", "sk-fedcba9876543210"
    (rehearsed,) = await imported(admin, [entry(good)], validate_only=True)
    assert (rehearsed.name, rehearsed.error) == ("", "")
    found = await imported(
        admin,
        [entry(good), entry("short"), entry(good), entry(other, plan="gold")],
        [entry(good), entry(other), entry(f"{other}x", display_name=f"{other}x")],
    )
    assert [(bool(one.name), one.already_there, one.error_field) for one in found] == [
        (True, False, ""),
        (False, False, "api_key"),
        (False, False, "api_key"),
        (False, False, "key.plan"),
        (True, True, ""),
        (True, False, ""),
        (False, False, "api_key"),
    ]
    assert not [one for one in found if good in one.error or other in one.error]
    verdict = await admin.keys.VerifyKey(keys_pb2.VerifyKeyRequest(api_key=good))
    assert (verdict.allowed, verdict.key.name) == (True, found[0].name)


async def test_a_batch_that_is_too_large(admin: Stubs) -> None:
    """More than 100 keys in one request end the call."""
    with pytest.raises(grpc.RpcError) as caught:
        await imported(admin, [entry(f"sk-{n:016}") for n in range(101)])
    assert fields_of(caught.value) == ["entries"]


async def test_a_stream_that_is_refused_while_it_is_sent(rig: AdminRig) -> None:
    """A caller without the right gets the reason every time, also while it still sends."""
    viewer = await rig.caller(Role.VIEWER)
    for _ in range(30):
        with pytest.raises(grpc.RpcError) as caught:
            await imported(viewer, *([entry("sk-0123456789abcdef")] for _ in range(5)))
        assert (caught.value.code(), reason_of(caught.value)) == (
            CODE.PERMISSION_DENIED,
            "ACTION_NOT_PERMITTED",
        )


async def test_import_by_hash(admin: Stubs) -> None:
    """A key is imported by its SHA-256 alone, and is the same key as by its text."""
    text = "sk-0123456789abcdef-hash"
    by_hash = keys_pb2.ImportKeysRequest.Entry(
        sha256=sha256(text.encode()).digest(), key=Key(client_id="import")
    )
    short = keys_pb2.ImportKeysRequest.Entry(sha256=b"x", key=Key(client_id="import"))
    first, refused, again = await imported(admin, [by_hash, short], [entry(text)])
    assert refused.error_field == "sha256"
    assert (again.name, again.already_there) == (first.name, True)
    verdict = await admin.keys.VerifyKey(keys_pb2.VerifyKeyRequest(api_key=text))
    assert (verdict.allowed, verdict.key.name) == (True, first.name)
