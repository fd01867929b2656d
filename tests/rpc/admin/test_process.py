"""`authz admin` as a process: start, refusals, TLS, metrics, the end by SIGTERM and by SIGKILL."""

import asyncio
import contextlib
import json
import signal
import urllib.request
from pathlib import Path

import grpc
import grpc.aio
import pytest
import trustme

from authz.core.errors import BadInput
from authz.core.roles import Role
from authz.rpc.pb.admin.v1 import admin_pb2, admin_pb2_grpc, fleet_pb2
from authz.wiring.admin import admin_process
from tests.rpc.admin.kills import AdminServing, trial
from tests.support.real import Valkey
from tests.support.rpc.admin import Stubs, admin_rig, admin_settings
from tests.support.rpc.certificates import certificate_with_uri

URI = "spiffe://cluster.local/ns/ops/sa/deploy"


def read(address: str, path: str) -> str:
    """Return the body of a page."""
    with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
        return answer.read().decode()


async def test_a_process(valkey: Valkey, tmp_path: Path) -> None:
    """The process serves calls and metrics. After SIGTERM it ends streams and exits with 0.

    After kill -9 during a create, the same request gives one key and one answer.
    """
    serving = AdminServing(tmp_path, valkey.url)
    key = await serving.issue(Role.ADMIN)
    with contextlib.closing(serving):
        await looked_at(serving, key)
    log = serving.log.read_text()
    assert "serving the admin API on" in log
    assert "Traceback" not in log
    assert key not in log


async def looked_at(serving: AdminServing, key: str) -> None:
    """Start the process, try what the test above tells, and end it."""
    await asyncio.to_thread(serving.start)
    assert await trial(serving, key, 1, delay=0.002) == []
    async with grpc.aio.insecure_channel(serving.address) as channel:
        stubs = Stubs(channel, key)
        stream = stubs.fleet.WatchChanges(fleet_pb2.WatchChangesRequest(after_version=0))
        await stream.read()
        page = await asyncio.to_thread(read, serving.http, "/metrics")
        (line,) = [
            line
            for line in page.splitlines()
            if line.startswith("authz_admin_calls_total{")
            and 'code="OK"' in line
            and 'method="Keys.CreateKey"' in line
        ]
        assert line.endswith(" 2.0")
        assert "authz_admin_ready 1" in page
        assert json.loads(await asyncio.to_thread(read, serving.http, "/healthz"))
        assert await asyncio.to_thread(serving.end, signal.SIGTERM) == 0


@pytest.mark.parametrize("name", ["listen", "http_listen"])
async def test_other_machines_need_tls(valkey: Valkey, tmp_path: Path, name: str) -> None:
    """An address that other machines reach is refused in one line without TLS."""
    settings = admin_settings(valkey, tmp_path, **{name: "0.0.0.0:0"})
    with pytest.raises(BadInput, match=r"TLS|admin\.tls") as caught:
        async with admin_process(settings):
            pass
    assert str(caught.value).startswith(f"admin.{name}: 0.0.0.0:0 ")


async def test_an_address_in_use(valkey: Valkey, tmp_path: Path) -> None:
    """A port that another process has is refused, and the name of the setting is told."""
    async with admin_rig(admin_settings(valkey, tmp_path)) as rig:
        for name, address in (
            ("listen", rig.process.server.address),
            ("http_listen", rig.process.http),
        ):
            settings = admin_settings(valkey, tmp_path, **{name: str(address)})
            with pytest.raises(BadInput, match=f"admin.{name}"):
                async with admin_process(settings):
                    pass


async def test_a_unix_socket(valkey: Valkey, tmp_path: Path) -> None:
    """The API is served on a Unix socket of the given mode, and the peer has no address."""
    path = valkey.directory / "admin.sock"
    settings = admin_settings(valkey, tmp_path, listen=f"unix:{path}", socket_mode="0600")
    async with admin_rig(settings) as rig:
        assert path.stat().st_mode & 0o777 == 0o600
        stubs = await rig.caller(Role.VIEWER)
        await stubs.admin.WhoAmI(admin_pb2.WhoAmIRequest())
    assert not path.exists()


async def test_client_certificates(valkey: Valkey, tmp_path: Path) -> None:
    """With a client CA, the URI of a certificate gives a role, and nobody enters without one."""
    cert, private, ca = (tmp_path / name for name in ("cert.pem", "key.pem", "ca.pem"))
    authority = trustme.CA()
    server = authority.issue_cert("127.0.0.1")
    server.cert_chain_pems[0].write_to_path(cert)
    server.private_key_pem.write_to_path(private)
    own_key, own_cert, own_ca = certificate_with_uri(URI)
    ca.write_bytes(own_ca)
    settings = admin_settings(
        valkey,
        tmp_path,
        tls={"cert": str(cert), "key": str(private), "client_ca": str(ca)},
        certificates={URI: {"role": "viewer", "tenants": ["north"]}},
    )
    root = authority.cert_pem.bytes()
    async with admin_rig(settings) as rig:
        address = str(rig.process.server.address)
        own = grpc.ssl_channel_credentials(root, own_key, own_cert)
        async with grpc.aio.secure_channel(address, own) as channel:
            stub = admin_pb2_grpc.AdminStub(channel)
            answer = await stub.WhoAmI(admin_pb2.WhoAmIRequest(), timeout=10)
        assert (answer.subject, answer.method) == (f"cert:{URI}", "certificate")
        assert [list(binding.tenant_ids) for binding in answer.bindings] == [["north"]]
        anonymous = grpc.ssl_channel_credentials(root)
        async with grpc.aio.secure_channel(address, anonymous) as channel:
            stub = admin_pb2_grpc.AdminStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.WhoAmI(admin_pb2.WhoAmIRequest(), timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
