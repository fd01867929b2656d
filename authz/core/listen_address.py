"""Address of a listener: `host:port` or `unix:PATH`."""

import ipaddress
from dataclasses import dataclass
from typing import Final

from authz.core.errors import BadInput
from authz.core.fields import shown

MAX_SOCKET_PATH: Final = 107  # bytes, of sockaddr_un on Linux
MAX_PORT_DIGITS: Final = 5


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address, or a Unix socket when `path` is set."""

    host: str
    port: int
    path: str = ""

    @classmethod
    def parse(cls, field: str, text: str) -> "Address":
        """Parse `127.0.0.1:9191`, `[::1]:9191`, `localhost:0` or `unix:/run/authz.sock`.

        The host is not resolved or checked; its brackets are dropped. Raises BadInput if host, port
        (0 to 65535) or path is missing or wrong, or if the path has more than 107 bytes.
        """
        if text.startswith("unix:"):
            path = text.removeprefix("unix:")
            if not path:
                raise BadInput(field, f"{shown(text)} has no path, such as unix:/run/authz.sock")
            if not path.isprintable() or len(path.encode()) > MAX_SOCKET_PATH:
                problem = f"is not a path of at most {MAX_SOCKET_PATH} printable bytes"
                raise BadInput(field, f"{shown(text)} {problem}, such as unix:/run/authz.sock")
            return cls("", 0, path)
        host, colon, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not (
            colon
            and host
            and port.isascii()
            and port.isdecimal()
            and len(port) <= MAX_PORT_DIGITS
            and int(port) < 1 << 16
        ):
            raise BadInput(
                field, f"{shown(text)} is not host:port or unix:PATH, such as 127.0.0.1:9191"
            )
        return cls(host, int(port))

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def numbered(self, number: int) -> "Address":
        """Return the address of one of several processes: `check-2.sock`, or the port plus 2.

        number: from 0. The address is not checked: its port or path may be too large.
        """
        if not self.path:
            return Address(self.host, self.port + number)
        stem, dot, suffix = self.path.rpartition(".")
        if not dot or "/" in suffix:
            return Address("", 0, f"{self.path}-{number}")
        return Address("", 0, f"{stem}-{number}.{suffix}")

    @property
    def is_local(self) -> bool:
        """True for a Unix socket, `localhost` or a loopback address; False for other host names."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
