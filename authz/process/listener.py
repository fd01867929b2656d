"""Where and how the Check port listens, whichever transport serves it."""

import errno
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from authz.core.errors import BadInput
from authz.core.listen_address import Address

LISTEN: Final = "check.listen"
TLS: Final = "check.tls"
NO_SUCH_FAMILY: Final = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may use up."""

    streams: int = 1024  # calls at a time on one connection; Envoy opens another beyond that
    header_bytes: int = 16 * 1024  # of one header list, as SETTINGS_MAX_HEADER_LIST_SIZE counts
    message_bytes: int = 1024 * 1024  # of one request
    idle_seconds: float = 600.0  # a connection without a call
    flood_tolerance: float = 1.0  # times the budgets of the fast transport against floods


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. With `client_ca` only clients it signed are served."""

    cert: Path
    key: Path
    client_ca: Path | None = None


def refuse_plaintext(address: Address, *, encrypted: bool, allowed: bool) -> None:
    """Raises BadInput where other machines could connect in the clear.

    The port takes raw keys and answers anyone who asks.
    """
    if not (encrypted or allowed or address.is_local):
        raise BadInput(
            LISTEN,
            f"{address} would take keys in the clear from other machines; "
            "set check.tls, or check.allow_plaintext: true behind a mesh that encrypts",
        )


def server_tls(files: TlsFiles) -> ssl.SSLContext:
    """Raises BadInput."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")  # of TLS 1.2, those that HTTP/2 allows
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["h2"])
    cert, key, client_ca = files.cert, files.key, files.client_ca
    try:
        for file in filter(None, (cert, key, client_ca)):
            file.read_bytes()  # its error names the file, and OpenSSL's does not
        context.load_cert_chain(cert, key, password="")
        if client_ca:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except ssl.SSLError:
        named = f"{cert} and {key}" + (f", or {client_ca}," if client_ca else "")
        problem = f"{named} are not a certificate and its unencrypted key in PEM"
        raise BadInput(TLS, problem) from None
    except OSError as cause:
        raise BadInput(TLS, f"{cause.filename}: {cause.strerror}") from None
    return context


def bind(address: Address, socket_mode: int, setting: str = LISTEN) -> list[socket.socket]:
    """Sockets bound to every address that the name has. Raises BadInput, which names `setting`."""
    try:
        if address.path:
            return [_bind_path(address.path, socket_mode)]
        return _bind_host(address)
    except UnicodeError:
        raise BadInput(setting, f"{address}: not a host name; name another") from None
    except OSError as cause:
        problem = cause.strerror or str(cause)
        raise BadInput(setting, f"{address}: {problem}; name another") from None


def _bind_path(path: str, mode: int) -> socket.socket:
    """The caller holds the lock of the path: a socket there is nobody's."""
    Path(path).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    try:
        with mode_of_socket(path, mode):
            listener.bind(path)
    except OSError:
        listener.close()
        raise
    return listener


def _bind_host(address: Address) -> list[socket.socket]:
    port, listeners = address.port, []
    failure = OSError("no address")
    for family, kind, protocol, _, where in socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        # The protocol by name, or asyncio leaves Nagle's algorithm on: 40 ms for what comes in two.
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address.host != "::")
            listener.bind((where[0], port, *where[2:]))
        except OSError as cause:
            listener.close()
            failure = cause
            if cause.errno not in NO_SUCH_FAMILY:
                break
        else:
            port = listener.getsockname()[1]  # one port for every address
            listeners.append(listener)
    if not listeners or failure.errno not in (None, *NO_SUCH_FAMILY):
        for listener in listeners:
            listener.close()
        raise failure
    return listeners


@contextmanager
def mode_of_socket(path: str, mode: int) -> Iterator[None]:
    """Bind a Unix socket so that it never has wider permissions than it shall have."""
    if not path:
        yield
        return
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)
    Path(path).chmod(mode)
