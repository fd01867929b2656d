"""FailureBudgets: how many failures of each client are reported, so that no client floods a log."""

import ipaddress
from typing import Final

from authz.core.bounded import BoundedDict

MAX_CLIENTS: Final = 10_000  # that are remembered
_IPV6_BITS: Final = 64  # of an IPv6 network that one client has


class FailureBudgets:
    """Counts failures: at most `most` at once for each client. One is forgotten every `seconds`.

    A client is an IPv4 address or an IPv6 /64 network. Time is an argument, in seconds.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._free: BoundedDict[str, float] = BoundedDict(MAX_CLIENTS)
        """Client -> when all of its failures are forgotten."""

    def wait(self, address: str, now: float) -> float:
        """Return the seconds until one more failure fits into the budget; 0 if it fits now."""
        ahead = self._free.get(_client(address), now) - now
        return max(0.0, ahead - (self._most - 1) * self._seconds)

    def fail(self, address: str, now: float) -> None:
        """Note a failure of the client."""
        client = _client(address)
        self._free.put(client, max(self._free.get(client, now), now) + self._seconds)


def _client(address: str) -> str:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return ""  # a Unix socket: all of its clients count as one
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(int(found) >> (128 - _IPV6_BITS))
    return str(found)
