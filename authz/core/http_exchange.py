"""HTTP requests and responses as plain values, so that a listener and an API need not know each
other."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from authz.core.access import Caller


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request. path: as sent, with its escapes. query: pairs, decoded, in their order.

    headers: in lower case, in their order; a header may come more than once. peer: the IP address
    of the client, or empty for a Unix socket. caller: of a request of our own process, which has
    identified it; the headers are no credentials then. A listener MUST leave it None.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)
    peer: str = ""
    caller: Caller | None = field(default=None, repr=False)

    def header(self, name: str) -> str:
        """Return the values of a header, joined with a comma. Empty if it is absent.

        name: in lower case.
        """
        return ",".join(self.all_of(name))

    def all_of(self, name: str) -> tuple[str, ...]:
        """Return each value of a header, in order; empty if it is absent. name: in lower case."""
        return tuple(value for found, value in self.headers if found == name)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response. body: all of it, or its parts as they become ready."""

    status: int
    headers: Mapping[str, str]
    body: bytes | AsyncIterator[bytes] = field(default=b"", repr=False)


HttpHandler = Callable[[HttpRequest], Awaitable[HttpResponse]]
"""Returns the response to one request. It never raises an Exception."""
