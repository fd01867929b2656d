"""Where and how the Check port listens, whichever transport serves it."""

import errno
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from envoy.service.auth.v3 import external_auth_pb2

from authz.core.address import Address
from authz.core.errors import BadInput

_SERVICES: Final = external_auth_pb2.DESCRIPTOR.services_by_name
CHECK_SERVICE: Final[str] = _SERVICES["Authorization"].full_name
LISTEN: Final = "check.listen"
TLS: Final = "check.tls"
NO_SUCH_FAMILY: Final = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


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


def server_tls(cert: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    """TLS for the listener; with `client_ca` only clients it signed are served. Raises BadInput."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")  # of TLS 1.2, those that HTTP/2 allows
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["h2"])
    try:
        context.load_cert_chain(cert, key, password="")
        if client_ca:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except ssl.SSLError:
        named = f"{cert} and {key}" + (f", or {client_ca}," if client_ca else "")
        problem = f"{named} are not a certificate and its unencrypted key in PEM"
        raise BadInput(TLS, problem) from None
    except OSError as cause:
        missing = next(
            (file for file in (cert, key, client_ca) if file and not file.exists()), cert
        )
        raise BadInput(TLS, f"{missing}: {cause.strerror}") from None
    return context


def bind(address: Address, socket_mode: int) -> list[socket.socket]:
    """Sockets bound to every address that the name has. Raises BadInput."""
    try:
        if address.path:
            return [_bind_path(address.path, socket_mode)]
        return _bind_host(address)
    except UnicodeError:
        raise BadInput(LISTEN, f"{address}: not a host name; name another") from None
    except OSError as cause:
        problem = cause.strerror or str(cause)
        raise BadInput(LISTEN, f"{address}: {problem}; name another") from None


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
    for family, kind, _, _, where in socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        listener = socket.socket(family, kind)
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
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)
    Path(path).chmod(mode)
