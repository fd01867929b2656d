"""Requests to other servers over HTTP, with bounds on time and size. Never on the way of a Check.

A request follows no redirect, so it goes to the configured host only. Plain http works for loopback
only. The request runs in a thread, because the standard library's client blocks. A name may take
half a minute to resolve, so a client has threads of its own. Else a few slow names would stop all
other work that needs a thread, such as `/metrics` and name lookups of the store.
"""

import asyncio
import contextlib
import http.client
import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from authz.core.errors import Unavailable
from authz.core.web_address import check_url

MAX_RESPONSE: Final = 256 * 1024  # bytes
SECONDS: Final = 5.0  # for a whole request
AT_ONCE: Final = 8  # requests of one client; others wait
# api.github.com answers 403 without one, and so do firewalls in front of other servers:
# https://docs.github.com/en/rest/using-the-rest-api/getting-started-with-the-rest-api#user-agent
# Without a version, which is of no concern to a server.
USER_AGENT: Final = "authz"
_OK: Final = range(200, 300)
_SECONDS: Final = re.compile(r"[0-9]{1,5}", re.ASCII)


@dataclass(frozen=True, slots=True)
class WebResponse:
    """The response to a request. retry_after: seconds that it asks to wait; 0 if it does not."""

    status: int
    body: bytes = field(repr=False)
    retry_after: int = 0

    @property
    def is_ok(self) -> bool:
        """Whether the status is one from 200 to 299."""
        return self.status in _OK


class WebClient:
    """Sends requests. ca: a PEM file of authorities; None: those of the operating system.

    seconds: for a whole request. permits: whether a connection to an IP address is permitted; it is
    asked about the address that is then used, after its name was resolved. None: all are.
    """

    def __init__(
        self,
        ca: Path | None = None,
        seconds: float = SECONDS,
        permits: Callable[[str], bool] | None = None,
    ) -> None:
        self._ca = ca
        self._seconds = seconds
        self._permits = permits
        self.threads = ThreadPoolExecutor(AT_ONCE, "web")  # makes them when they are needed

    async def send(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        most: int = MAX_RESPONSE,
    ) -> WebResponse:
        """Send one request and return its response, also one with an error status.

        Raises Unavailable if there is no response of at most `most` bytes (256 KiB) in time,
        BadInput if the URL is neither https nor a loopback address.
        """
        host = _host(url)
        connection: http.client.HTTPConnection | None = None
        given_up = threading.Event()
        try:
            connection = self._connection(url)
            ask = partial(
                self._ask,
                *(connection, given_up, method, url),
                body=body,
                headers=headers or {},
                most=most,
            )
            asked = asyncio.get_running_loop().run_in_executor(self.threads, ask)
            return await asyncio.wait_for(asked, self._seconds)
        except TimeoutError:
            raise Unavailable(f"{host}: no response within {self._seconds:g} s") from None
        except http.client.HTTPException as cause:  # its text is the server's
            raise Unavailable(f"{host}: no response of HTTP ({type(cause).__name__})") from None
        except (OSError, ValueError) as cause:
            raise Unavailable(f"{host}: {type(cause).__name__}: {str(cause)[:200]}") from None
        finally:
            given_up.set()
            if connection is not None:
                _abort(connection)  # a thread that still waits ends

    def _connection(self, url: str) -> http.client.HTTPConnection:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme == "http":
            return http.client.HTTPConnection(host, parts.port, timeout=self._seconds)
        return http.client.HTTPSConnection(host, parts.port, timeout=self._seconds)

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        given_up: threading.Event,
        method: str,
        url: str,
        *,
        body: bytes | None,
        headers: Mapping[str, str],
        most: int,
    ) -> WebResponse:
        """Send a request in a thread. Nothing is sent once the caller has given up."""
        if given_up.is_set():
            raise TimeoutError
        with_tls = urlsplit(url).scheme == "https"
        connection.sock = self._connected(connection.host, connection.port, given_up, with_tls)
        if given_up.is_set():
            _abort(connection)
            raise TimeoutError
        return _ask(connection, method, url, body, headers=headers, most=most)

    def _connected(
        self, host: str, port: int, given_up: threading.Event, with_tls: bool
    ) -> socket.socket:
        """Return a connected socket to a permitted address of the host.

        Raises OSError if it has none, none answers, or the caller has given up.
        """
        failure: OSError = PermissionError("an internal address, which is not permitted")
        for family, kind, number, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        ):
            if given_up.is_set():
                raise TimeoutError
            if self._permits is not None and not self._permits(str(address[0])):
                continue
            plain = socket.socket(family, kind, number)
            try:
                plain.settimeout(self._seconds)
                plain.connect(address)
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if not with_tls:
                    return plain
                trusted = ssl.create_default_context(cafile=self._ca)
                return trusted.wrap_socket(plain, server_hostname=host)
            except OSError as cause:
                plain.close()
                failure = cause
        raise failure


def _host(url: str) -> str:
    return urlsplit(check_url("url", url)).netloc[:100]


def _ask(
    connection: http.client.HTTPConnection,
    method: str,
    url: str,
    body: bytes | None,
    *,
    headers: Mapping[str, str],
    most: int,
) -> WebResponse:
    parts = urlsplit(url)
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    sent = dict(headers)
    if not any(name.lower() == "user-agent" for name in headers):
        sent["User-Agent"] = USER_AGENT
    connection.request(method, path, body=body, headers=sent)
    with connection.getresponse() as response:
        found = response.read(most + 1)
    if len(found) > most:
        raise ValueError(f"the response has more than {most} bytes")
    wait = response.headers.get("Retry-After", "")
    return WebResponse(response.status, found, int(wait) if _SECONDS.fullmatch(wait) else 0)


def _abort(connection: http.client.HTTPConnection) -> None:
    with contextlib.suppress(OSError):
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        connection.close()
