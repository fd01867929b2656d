"""The address of an admin API, and the files of its credentials."""

from pathlib import Path

import pytest

from authz.core.errors import BadInput
from authz.core.listen_address import Address
from authz.remote.target import parse_address, read_target

NAME = "--admin"
TOKEN = "--admin-token-file"
NO_FILES = ("", "", "")


@pytest.mark.parametrize(
    ("url", "address", "tls"),
    [
        ("127.0.0.1:9193", Address("127.0.0.1", 9193), None),
        ("admin.example.com:443", Address("admin.example.com", 443), None),
        ("https://admin.example.com", Address("admin.example.com", 9193), True),
        ("https://admin.example.com:8443/", Address("admin.example.com", 8443), True),
        ("https://[2001:db8::1]:8443", Address("2001:db8::1", 8443), True),
        ("http://localhost:9193", Address("localhost", 9193), False),
        ("unix:/run/a.sock", Address("", 0, "/run/a.sock"), None),
        ("unix:///run/a.sock", Address("", 0, "/run/a.sock"), None),
    ],
)
def test_addresses(url: str, address: Address, *, tls: bool | None) -> None:
    """An address is host and port, a URL, or a Unix socket."""
    assert parse_address(NAME, url) == (address, tls)


@pytest.mark.parametrize(
    "url",
    [
        *("", "admin", "https://", "ftp://a:1", "https://a:b", "https://a/path", "https://a?x=1"),
        *(
            "https://user:secret@a",
            "https://user@a",
            "user:secret@a:1",
            "unix:",
            "a:0",
            "http://10.0.0.1:9193",
        ),
        *("http://0.0.0.0:9193", "http://admin.example.com"),
    ],
)
def test_wrong_addresses(url: str) -> None:
    """Another text, a password in a URL, and plain text to another machine are refused."""
    with pytest.raises(BadInput) as caught:
        parse_address(NAME, url)
    assert caught.value.field == NAME
    assert "secret" not in str(caught.value)


def test_plain_text_stays_on_the_machine(tmp_path: Path) -> None:
    """Beyond loopback the connection has TLS, also without certificates of our own."""
    file = tmp_path / "token"
    file.write_text("Bearer ak_live_x\n")
    near = read_target(NAME, "127.0.0.1:9193", (TOKEN, str(file)), NO_FILES)
    far = read_target(NAME, "10.0.0.1:9193", (TOKEN, str(file)), NO_FILES)
    assert (near.tls, near.credential) == (None, "ak_live_x")
    assert far.tls is not None
    assert "ak_live_x" not in repr(far)


@pytest.mark.parametrize("content", [b"", b"two\nlines", b"\xff\xfe", b"x" * 20_000])
def test_wrong_tokens(tmp_path: Path, content: bytes) -> None:
    """A file without one printable line of bounded length is refused, and is not shown."""
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(BadInput, match="not one line") as caught:
        read_target(NAME, "127.0.0.1:9193", (TOKEN, str(file)), NO_FILES)
    assert caught.value.field == TOKEN


def test_missing_credentials(tmp_path: Path) -> None:
    """A credential is needed, files have to exist, and a certificate needs its key."""
    cert = tmp_path / "cert.pem"
    cert.write_text("x")
    for token, files, field in (
        ("", NO_FILES, TOKEN),
        (str(tmp_path / "nothing"), NO_FILES, TOKEN),
        ("", ("", str(cert), ""), "$AUTHZ_ADMIN_CERT"),
        ("", ("", "", str(tmp_path / "nothing")), "$AUTHZ_ADMIN_KEY"),
    ):
        with pytest.raises(BadInput) as caught:
            read_target(NAME, "127.0.0.1:9193", (TOKEN, token), files)
        assert caught.value.field == field
    files = ("", str(cert), str(cert))
    with pytest.raises(BadInput, match="without TLS"):
        read_target(NAME, "http://127.0.0.1:9193", (TOKEN, ""), files)
