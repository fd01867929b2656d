"""TLS towards the store, on Debian's redis-server: the Valkey wheel has no TLS."""

import contextlib
import shutil
import subprocess
import time

import pytest
import redis
import trustme

from authz.core.errors import Unavailable
from authz.core.records import Status
from authz.storage.endpoint import Endpoint
from authz.storage.tls import TlsFiles
from tests.support.real import PATIENCE, PAUSE, eventually, free_port
from tests.support.storage.sidecar import Sidecar, administration

NEEDED = "needs a redis-server that speaks TLS: apt-get install redis-server"


class Pem:
    """The files of one authority: its certificate, and the ones it signed for the store and for
    us.
    """

    def __init__(self, directory, *names: str) -> None:
        directory.mkdir()
        authority = trustme.CA()
        self.ca = directory / "ca.pem"
        authority.cert_pem.write_to_path(self.ca)
        self.store = self._issued(directory, "store", authority.issue_cert(*names))
        self.client = self._issued(directory, "client", authority.issue_cert("sidecar"))

    @staticmethod
    def _issued(directory, name, leaf):
        cert, key = directory / f"{name}.pem", directory / f"{name}.key"
        leaf.cert_chain_pems[0].write_to_path(cert)
        leaf.private_key_pem.write_to_path(key)
        return cert, key


@contextlib.contextmanager
def tls_store(pem: Pem, directory, *, wants_certificate: bool = False):
    """Start a server that speaks only TLS and yield its port."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip(NEEDED)
    port, (cert, key) = free_port(), pem.store
    command = [binary, "--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1"]
    command += ["--tls-cert-file", str(cert), "--tls-key-file", str(key)]
    command += ["--tls-ca-cert-file", str(pem.ca), "--dir", str(directory), "--save", ""]
    command += ["--tls-auth-clients", "yes" if wants_certificate else "no"]
    log = directory / "redis.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until_it_listens(process, port, log)
        yield port
    finally:
        process.kill()
        process.wait()


def wait_until_it_listens(process, port, log):
    """Wait for the server. Skips if it has no TLS."""
    deadline = time.monotonic() + PATIENCE
    while b"Ready to accept connections" not in log.read_bytes():
        if process.poll() is not None and b"tls-port" in log.read_bytes():
            pytest.skip(NEEDED)
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, f"not listening on {port}"
        time.sleep(PAUSE)


@pytest.fixture
def pem(tmp_path):
    """An authority and its files, for a store on loopback."""
    return Pem(tmp_path / "pem", "localhost", "127.0.0.1")


def secure(port, host="127.0.0.1", **files):
    """Return the endpoint of the store."""
    return Endpoint.parse(f"rediss://{host}:{port}/0", tls=TlsFiles(**files))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_trusted(pem, tmp_path, host):
    """A store whose certificate is signed by the authority and names the host is used."""
    with tls_store(pem, tmp_path) as port:
        endpoint = secure(port, host, ca=pem.ca)
        async with administration(endpoint) as admin, Sidecar(endpoint) as sidecar:
            record = await admin.issue()
            await sidecar.trusted()
            assert await sidecar.find(record.kid) == record
            await admin.revoke(record.kid)
            await sidecar.caught_up(2)
            assert (await sidecar.find(record.kid)).status is Status.REVOKED


async def refused(endpoint):
    """Return the errors of a sidecar and of administration."""
    client = endpoint.client(timeout=2)
    with pytest.raises((redis.RedisError, OSError)):
        await client.ping()
    await client.aclose()
    async with Sidecar(endpoint, lease=2) as sidecar:
        await eventually(lambda: sidecar.reason not in {"connecting", ""})
        assert not sidecar.is_trusted
        return sidecar.reason


async def test_unknown_authority(pem, tmp_path):
    """A certificate of an unknown authority is refused."""
    other = Pem(tmp_path / "other", "127.0.0.1")
    with tls_store(pem, tmp_path) as port:
        assert "self-signed" in await refused(secure(port, ca=other.ca))
        assert "self-signed" in await refused(secure(port))


async def test_other_host(tmp_path):
    """A certificate for another host is refused."""
    pem = Pem(tmp_path / "pem", "store.example.com")
    with tls_store(pem, tmp_path) as port:
        assert "mismatch" in await refused(secure(port, ca=pem.ca))
        assert "mismatch" in await refused(secure(port, "localhost", ca=pem.ca))


async def test_client_certificate(pem, tmp_path):
    """A store that requires a client certificate gets ours, and refuses us without it."""
    with tls_store(pem, tmp_path, wants_certificate=True) as port:
        await refused(secure(port, ca=pem.ca))
        cert, key = pem.client
        endpoint = secure(port, ca=pem.ca, cert=cert, key=key)
        async with administration(endpoint), Sidecar(endpoint) as sidecar:
            await sidecar.trusted()


async def test_renewed_files(pem, tmp_path):
    """Replaced files are used from the next connection on, without a restart."""
    other = Pem(tmp_path / "other", "127.0.0.1")
    files = [tmp_path / name for name in ("ca", "cert", "key")]
    for file, source in zip(files, (other.ca, *other.client), strict=True):
        shutil.copy(source, file)
    with tls_store(pem, tmp_path, wants_certificate=True) as port:
        endpoint = secure(port, **dict(zip(("ca", "cert", "key"), files, strict=True)))
        client = endpoint.client()
        async with Sidecar(endpoint) as sidecar:
            await eventually(lambda: "TLS" in sidecar.reason)
            with pytest.raises((redis.RedisError, OSError)):
                await client.ping()

            for file, source in zip(files, (pem.ca, *pem.client), strict=True):
                shutil.copy(source, file)
            assert await client.ping()
            async with administration(endpoint):
                await sidecar.trusted()
        await client.aclose()


async def test_no_tls_at_the_other_end(valkey, pem):
    """A server without TLS is refused instead of being used in plain text."""
    valkey.admin.config_resetstat()
    await refused(secure(valkey.port, ca=pem.ca))
    assert "cmdstat_hello" not in valkey.admin.info("commandstats")


@pytest.mark.parametrize("name", ["ca", "cert"])
@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_unusable_file(pem, tmp_path, name, content):
    """An unusable file is named by a sidecar and by a command."""
    bad = tmp_path / "bad.pem"
    if content is not None:
        bad.write_text(content)
    endpoint = secure(free_port(), **{"ca": pem.ca, "key": pem.client[1], name: bad})
    with pytest.raises(Unavailable, match=rf"redis\.tls\.{name}.*bad\.pem"):
        endpoint.client()
    async with Sidecar(endpoint) as sidecar:
        await eventually(lambda: f"redis.tls.{name}" in sidecar.reason)
