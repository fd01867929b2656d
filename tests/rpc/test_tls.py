"""TLS on the Check port."""

from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from authz.core.errors import BadInput
from authz.process.listener import TlsFiles, server_tls
from tests.support.rpc.door import Door
from tests.support.rpc.messages import check_request
from tests.support.rpc.servers import TRANSPORTS, ask, serving


@dataclass
class Files:
    """Certificate files and the authorities that signed them."""

    cert: Path
    key: Path
    client_ca: Path
    authority: trustme.CA
    stranger: trustme.CA


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Files:
    """One authority for servers and clients, and one that nobody trusts."""
    directory = tmp_path_factory.mktemp("tls")
    authority, stranger = trustme.CA(), trustme.CA()
    server = authority.issue_cert("127.0.0.1")
    found = Files(
        directory / "cert.pem", directory / "key.pem", directory / "ca.pem", authority, stranger
    )
    for number, blob in enumerate(server.cert_chain_pems):
        blob.write_to_path(found.cert, append=number > 0)
    server.private_key_pem.write_to_path(found.key)
    authority.cert_pem.write_to_path(found.client_ca)
    return found


@pytest.fixture(params=TRANSPORTS)
def transport(request) -> str:
    """Each transport."""
    return request.param


def client(files: Files, signed_by: trustme.CA | None = None) -> grpc.ChannelCredentials:
    """Return credentials that trust the authority, with or without a client certificate."""
    root = files.authority.cert_pem.bytes()
    if signed_by is None:
        return grpc.ssl_channel_credentials(root)
    own = signed_by.issue_cert("proxy.example")
    return grpc.ssl_channel_credentials(
        root, own.private_key_pem.bytes(), b"".join(blob.bytes() for blob in own.cert_chain_pems)
    )


async def status(address, credentials=None) -> int:
    """Return the HTTP status in the answer to a Check without a key."""
    return (await ask(address, check_request(), credentials)).denied_response.status.code


async def test_checks_are_answered_over_tls(transport, files):
    """A client that trusts our certificate is served; plaintext and distrust fail."""
    async with serving(transport, Door(), tls=TlsFiles(files.cert, files.key)) as server:
        assert await status(server.address, client(files)) == 401
        doubting = grpc.ssl_channel_credentials(files.stranger.cert_pem.bytes())
        for refused in (None, doubting):
            with pytest.raises(grpc.aio.AioRpcError):
                await status(server.address, refused)


async def test_with_a_client_ca_only_its_clients_are_served(transport, files):
    """A client without a certificate, or with a stranger's, gets no answer."""
    tls = TlsFiles(files.cert, files.key, files.client_ca)
    async with serving(transport, Door(), tls=tls) as server:
        assert await status(server.address, client(files, files.authority)) == 401
        for refused in (client(files), client(files, files.stranger)):
            with pytest.raises(grpc.aio.AioRpcError):
                await status(server.address, refused)


def test_a_file_that_is_missing_is_named(files, tmp_path):
    """The error names the missing one of the three files."""
    missing = tmp_path / "none.pem"
    for given in (
        (missing, files.key, None),
        (files.cert, missing, None),
        (files.cert, files.key, missing),
    ):
        with pytest.raises(BadInput, match=r"^check\.tls: .*none\.pem: No such file"):
            server_tls(TlsFiles(*given))


def test_files_that_do_not_belong_together_are_refused(files, tmp_path):
    """A wrong key, an encrypted key and a file that is not PEM are refused at once."""
    other, locked, garbage = (tmp_path / name for name in ("other.pem", "locked.pem", "x.pem"))
    files.stranger.issue_cert("127.0.0.1").private_key_pem.write_to_path(other)
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    garbage.write_text("no certificate")
    for given in (
        (files.cert, other, None),
        (files.cert, locked, None),
        (garbage, files.key, None),
        (files.cert, files.key, garbage),
    ):
        with pytest.raises(BadInput, match=r"^check\.tls: .*are not a certificate and its"):
            server_tls(TlsFiles(*given))
