"""AdminTarget: the address of an admin API, and the credential for it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from authz.core.errors import BadInput
from authz.core.fields import shown
from authz.core.listen_address import Address

DEFAULT_PORT: Final = 9193
MAX_FILE: Final = 1 << 20  # bytes of a certificate chain
MAX_TOKEN: Final = 16_384  # characters
GOOD: Final = "such as https://admin.example.com, 127.0.0.1:9193 or unix:/run/authz-admin.sock"


@dataclass(frozen=True, slots=True)
class Pem:
    """PEM texts. root: of the server, None for those of the system. chain, key: our own."""

    root: bytes | None
    chain: bytes | None
    key: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class AdminTarget:
    """The address of an admin API. tls: None for plain text, which never leaves the machine.

    credential: a key with a role, or a token; empty with a client certificate.
    """

    address: Address
    credential: str = field(repr=False)
    tls: Pem | None


def parse_address(name: str, url: str) -> tuple[Address, bool | None]:
    """Return the address, and whether it is for TLS; None: TLS unless it is on this machine.

    Raises BadInput about `name` for another text, and for plain text to another machine.
    """
    scheme, separator, _ = url.partition("://")
    if not separator and "@" in url and not url.startswith("unix:"):
        raise BadInput(name, f"has a user or a password; give --admin-token-file, {GOOD}")
    if not separator:
        return _parsed(name, url), None
    if scheme == "unix":
        return _parsed(name, url.replace("://", ":", 1)), None
    if scheme not in {"https", "http"}:
        raise BadInput(name, f"{shown(url)} is no address, {GOOD}")
    try:
        parts = urlsplit(url)
        port, host = parts.port or DEFAULT_PORT, parts.hostname or ""
    except ValueError:
        raise BadInput(name, f"{shown(url)} is no address, {GOOD}") from None
    if parts.username is not None or parts.password is not None:
        raise BadInput(name, f"has a user or a password; give --admin-token-file, {GOOD}")
    if not host or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise BadInput(name, f"{shown(url)} has more or less than a host and a port, {GOOD}")
    address = _parsed(name, f"{host}:{port}")
    if scheme == "http" and not address.is_local:
        raise BadInput(name, f"{shown(url)} would send the credential in clear text; use https://")
    return address, scheme == "https"


def read_target(
    name: str, url: str, token: tuple[str, str], files: tuple[str, str, str]
) -> AdminTarget:
    """Return the target. name: of the option or variable with `url`, for errors.

    token: the name of the option or variable, and the path of the file with the credential; an
    empty path: none. files: the paths of the CA, the certificate and its key; empty: none. Raises
    BadInput for a file that cannot be used, and if there is no credential.
    """
    address, wants_tls = parse_address(name, url)
    root, chain, key = (
        _file(f"$AUTHZ_ADMIN_{what}", path)
        for what, path in zip(("CA", "CERT", "KEY"), files, strict=True)
    )
    if (chain is None) != (key is None):
        raise BadInput("$AUTHZ_ADMIN_CERT", "goes with $AUTHZ_ADMIN_KEY, its private key")
    has_files = root is not None or chain is not None
    if wants_tls is False and has_files:
        raise BadInput(name, f"{shown(url)} is without TLS, but certificates are given")
    credential = _credential(*token)
    if not credential and chain is None:
        raise BadInput(
            "--admin-token-file",
            "is needed: a file with a key or a token; or $AUTHZ_ADMIN_CERT and $AUTHZ_ADMIN_KEY",
        )
    if wants_tls is None:
        wants_tls = has_files or not address.is_local
    return AdminTarget(address, credential, Pem(root, chain, key) if wants_tls else None)


def _parsed(name: str, text: str) -> Address:
    try:
        address = Address.parse(name, text)
    except BadInput:
        raise BadInput(name, f"{shown(text)} is no address, {GOOD}") from None
    if not (address.path or address.port):
        raise BadInput(name, f"{shown(text)} has no port, {GOOD}")
    return address


def _credential(name: str, path: str) -> str:
    """Return the credential in a file; empty without a path."""
    raw = _file(name, path)
    if raw is None:
        return ""
    text = raw.decode("latin-1").strip(" \t\r\n")
    if not (text and text.isascii() and text.isprintable() and len(text) <= MAX_TOKEN):
        raise BadInput(name, f"{path}: not one line with a key or a token")
    return text.removeprefix("Bearer ").strip(" ")


def _file(name: str, path: str) -> bytes | None:
    """Return the content of a file; None without a path. Raises BadInput if it is not readable."""
    if not path:
        return None
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_FILE + 1)
    except OSError as cause:
        raise BadInput(name, f"{path}: {cause.strerror}") from None
    if len(content) > MAX_FILE:
        raise BadInput(name, f"{path}: more than {MAX_FILE} bytes")
    return content
