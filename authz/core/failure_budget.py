"""FailureBudgets: how many failures of each client are reported, so that no client floods a log."""

import ipaddress
from functools import lru_cache
from typing import Final

from authz.core.bounded import BoundedDict

MAX_CLIENTS: Final = 10_000  # that are remembered
MAX_ADDRESS: Final = 64  # characters; longer text is no address and must not fill the cache
_IPV6_BITS: Final = 64  # of an IPv6 network that one client has


class FailureBudgets:
    """Counts failures: at most `most` at once for each client. One is forgotten every `seconds`.

    A client is as `client_of` says; all without an address count as one. Time is an argument, in
    the unit of `seconds`.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._free: BoundedDict[str, float] = BoundedDict(MAX_CLIENTS)
        """Client -> when all of its failures are forgotten."""

    def wait(self, address: str, now: float) -> float:
        """Return the seconds until one more failure fits into the budget; 0 if it fits now."""
        ahead = self._free.get(client_of(address), now) - now
        return max(0.0, ahead - (self._most - 1) * self._seconds)

    def fail(self, address: str, now: float) -> None:
        """Note a failure of the client."""
        client = client_of(address)
        self._free.put(client, max(self._free.get(client, now), now) + self._seconds)

    def forget(self, client: str) -> None:
        """Forget the failures of a client, named as `client_of` does."""
        self._free.pop(client, None)


def client_of(address: str) -> str:
    """Return the client of an address: an IPv4 address, or an IPv6 network such as `2001:db8::/64`.

    Empty if it is no address, as that of a Unix socket. IPv4-mapped IPv6 counts as IPv4.
    """
    return _client(address) if len(address) <= MAX_ADDRESS else ""


@lru_cache(MAX_CLIENTS)
def _client(address: str) -> str:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        network = int(found) >> (128 - _IPV6_BITS) << (128 - _IPV6_BITS)
        return str(ipaddress.IPv6Network((network, _IPV6_BITS)))
    return str(found)
