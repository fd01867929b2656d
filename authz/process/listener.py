"""Listeners: bound sockets, their Unix socket locks and modes, TLS, and limits on clients.

The Check, operations and health servers all listen through `Listener`.
"""

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
from authz.process.socket_lock import SocketLock

LISTEN: Final = "check.listen"
TLS: Final = "check.tls"
SOCKET_MODE: Final = 0o660
NO_SUCH_FAMILY: Final = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Bounds on one client connection."""

    streams: int = 1024  # concurrent calls; Envoy opens another connection beyond that
    header_bytes: int = 16 * 1024  # of one header list, as SETTINGS_MAX_HEADER_LIST_SIZE counts
    message_bytes: int = 1024 * 1024  # of one request
    idle_seconds: float = 600.0  # for which a connection may have no call
    flood_tolerance: float = 1.0  # factor on the flood budgets of the fast transport
    trusted: bool = False  # whether a flood slows clients down instead of disconnecting them
    handshake_seconds: float = 10.0  # until the client's first SETTINGS
    goaway_seconds: float = 1.0  # until the PING of a graceful end is answered
    stall_seconds: float = 10.0  # for which a client may leave WRITE_BUFFER of responses unread
    linger_seconds: float = 1.0  # for a client to read our last GOAWAY after a connection error


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of a listener. With `client_ca`, a client needs a certificate signed by it."""

    cert: Path
    key: Path
    client_ca: Path | None = None


class Listener:
    """Sockets bound to every address of a host name, or to a Unix socket that is locked.

    wanted: the address; its port 0 lets the system choose. address: the same with the chosen port.
    setting: named in errors. socket_mode: of a Unix socket. Raises BadInput if the address cannot
    be used or a live process serves the Unix socket.
    """

    def __init__(self, wanted: Address, setting: str, socket_mode: int = SOCKET_MODE) -> None:
        self._lock = SocketLock(setting, wanted.path)
        try:
            self.sockets = _bind(wanted, socket_mode)
        except (OSError, UnicodeError) as cause:
            self._lock.close()
            raise BadInput(setting, f"{wanted}: {_problem(cause)}; name another") from None
        self._lock.owns_socket = True
        port = 0 if wanted.path else self.sockets[0].getsockname()[1]
        self.address = wanted if wanted.path else Address(wanted.host, port)

    def remove_path(self) -> None:
        """Remove a Unix socket from the file system. Its path stays locked until `close`.

        Does nothing for a TCP address, or the second time.
        """
        self._lock.remove_socket()

    def close_sockets(self) -> None:
        """Close the listening sockets, so that no new connections come. Accepted ones stay open."""
        for listener in self.sockets:
            listener.close()

    def close(self) -> None:
        """Remove a Unix socket from the file system, close all sockets and release the lock.

        May be called again.
        """
        self._lock.remove_socket()
        self.close_sockets()
        self._lock.close()


def refuse_plaintext(address: Address, *, encrypted: bool, allowed: bool) -> None:
    """Raise BadInput unless the address is local, `encrypted` (TLS is on) or plaintext `allowed`.

    Requests to the Check port contain raw keys, and it answers any client.
    """
    if not (encrypted or allowed or address.is_local):
        raise BadInput(
            LISTEN,
            f"{address} would take keys in the clear from other machines; "
            "set check.tls, or check.allow_plaintext: true behind a mesh that encrypts",
        )


def server_tls(files: TlsFiles) -> ssl.SSLContext:
    """Return the TLS context of an HTTP/2 server: TLS 1.2 or newer, ALPN h2.

    With `client_ca`, clients need a certificate. Raises BadInput for files that are missing, no
    PEM, or a key with a passphrase.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")  # of TLS 1.2, those that HTTP/2 allows
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["h2"])
    cert, key, client_ca = files.cert, files.key, files.client_ca
    try:
        for file in filter(None, (cert, key, client_ca)):
            file.read_bytes()  # this error names the file; OpenSSL's does not
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


def _problem(cause: OSError | UnicodeError) -> str:
    if isinstance(cause, UnicodeError):
        return "not a host name"
    return cause.strerror or str(cause)


def _bind(address: Address, socket_mode: int) -> list[socket.socket]:
    if address.path:
        return [_bind_path(address.path, socket_mode)]
    return _bind_host(address)


def _bind_path(path: str, mode: int) -> socket.socket:
    """Bind a Unix socket and set its mode. Raises OSError.

    The caller holds the lock, so a socket at the path is left over from a dead process and is
    removed first.
    """
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
        # asyncio turns Nagle's algorithm off only if the protocol is named. Nagle would delay a
        # response that is written in two parts by 40 ms.
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
    """Give a Unix socket its mode; the block binds it. It never has wider permissions than `mode`.

    Does nothing if `path` is empty. Changes the umask of the process during the block.
    """
    if not path:
        yield
        return
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)
    Path(path).chmod(mode)
