"""The Python client of the admin API, against a running one."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from authz.client import AdminClient, AdminError, AsyncAdminClient, key_pb2, keys_pb2
from authz.core.errors import BadInput
from authz.core.roles import Role
from tests.support.real import Valkey
from tests.support.rpc.admin import AdminRig, admin_rig, admin_settings

TLS_HANDSHAKE = b"\x16"  # RFC 8446, section 5.1: the type of the first record

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(
    shared_valkey: Valkey, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[AdminRig]:
    """A running admin API."""
    shared_valkey.reset()
    async with admin_rig(
        admin_settings(shared_valkey, tmp_path_factory.mktemp("admin"))
    ) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def key(rig: AdminRig) -> str:
    """The key of an administrator."""
    _, text = await rig.issue([Role.ADMIN.scope])
    return text


def request(client: str) -> keys_pb2.CreateKeyRequest:
    """A request for a key of this client."""
    return keys_pb2.CreateKeyRequest(key=key_pb2.Key(client_id=client))


async def test_with_asyncio(rig: AdminRig, key: str) -> None:
    """Keys are issued, listed in pages and streamed."""
    address = str(rig.process.server.address)
    async with AsyncAdminClient(address, credential=key) as admin:
        names = {(await admin.keys.CreateKey(request("aio"))).key.name for _ in range(3)}
        listing = keys_pb2.ListKeysRequest(page_size=1, filter="client_id = aio")
        pages = [page async for page in admin.pages(admin.keys.ListKeys, listing)]
        assert {each.name for page in pages for each in page.keys} == names
        assert not listing.page_token
        export = keys_pb2.ExportKeysRequest(filter="client_id = aio")
        assert {each.key.name async for each in admin.keys.ExportKeys(export)} == names
        with pytest.raises(AdminError) as caught:
            [each async for each in admin.keys.ExportKeys(keys_pb2.ExportKeysRequest(filter="x"))]
        assert list(caught.value.fields) == ["filter"]


async def test_without_asyncio(rig: AdminRig, key: str) -> None:
    """The client that waits does the same from a thread."""

    def work() -> tuple[set[str], set[str]]:
        with AdminClient(str(rig.process.server.address), credential=key) as admin:
            names = {admin.keys.CreateKey(request("sync")).key.name for _ in range(2)}
            listing = keys_pb2.ListKeysRequest(page_size=1, filter="client_id = sync")
            pages = list(admin.pages(admin.keys.ListKeys, listing))
            export = admin.keys.ExportKeys(keys_pb2.ExportKeysRequest(filter="client_id = sync"))
            assert {each.key.name for each in export} == names
            return names, {each.name for page in pages for each in page.keys}

    made, found = await asyncio.to_thread(work)
    assert made == found


async def test_errors(rig: AdminRig, key: str) -> None:
    """A failed call raises one error with code, reason, fields and the time until another try."""
    address = str(rig.process.server.address)
    async with AsyncAdminClient(address, credential=key) as admin:
        with pytest.raises(AdminError) as caught:
            await admin.keys.GetKey(keys_pb2.GetKeyRequest(name="keys/7Hk2mQ9xT4bVzR1c"))
        assert (caught.value.code, caught.value.reason) == (
            grpc.StatusCode.NOT_FOUND,
            "KEY_NOT_FOUND",
        )
        with pytest.raises(AdminError) as caught:
            await admin.keys.CreateKey(request(""))
        assert caught.value.fields
        assert key not in str(caught.value)
    async with AsyncAdminClient(address) as nobody:
        with pytest.raises(AdminError) as caught:
            await nobody.keys.ListKeys(keys_pb2.ListKeysRequest())
        assert caught.value.reason == "UNAUTHENTICATED"


async def test_a_created_key_is_one_key_if_the_call_is_repeated(rig: AdminRig, key: str) -> None:
    """The client adds a request id, and leaves the caller's message and id alone."""
    async with AsyncAdminClient(str(rig.process.server.address), credential=key) as admin:
        plain, named = request("again"), request("again")
        named.request_id = "6b1d7f2e-again"
        first, second = [await admin.keys.CreateKey(named) for _ in range(2)]
        assert first.api_key == second.api_key
        assert (await admin.keys.CreateKey(plain)).key.name != first.key.name
        assert (plain.request_id, named.request_id) == ("", "6b1d7f2e-again")


async def test_a_credential_needs_tls_beyond_this_machine() -> None:
    """To another machine the client speaks TLS only, so nothing is sent to a server without it."""
    heard = asyncio.Queue[bytes]()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.put_nowait(await reader.read(1000))
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    # Linux takes 0.0.0.0 for this machine, but it is no loopback address.
    async with server, AsyncAdminClient(f"0.0.0.0:{port}", credential="k" * 40) as admin:
        with pytest.raises(AdminError) as caught:
            await admin.keys.ListKeys(keys_pb2.ListKeysRequest(), timeout=5)
        assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    first = await asyncio.wait_for(heard.get(), 20)
    assert first.startswith(TLS_HANDSHAKE)
    assert b"kkkk" not in first
    with pytest.raises(BadInput):
        AdminClient("no address", credential="k")


async def test_a_unix_socket(valkey: Valkey, tmp_path: Path) -> None:
    """The address may be a Unix socket."""
    settings = admin_settings(valkey, tmp_path, listen=f"unix:{tmp_path}/admin.sock")
    async with admin_rig(settings) as rig:
        _, text = await rig.issue([Role.VIEWER.scope])
        async with AsyncAdminClient(f"unix:{tmp_path}/admin.sock", credential=text) as admin:
            assert not (await admin.keys.ListKeys(keys_pb2.ListKeysRequest(filter="plan = x"))).keys
