"""FairBudget: a rate that addresses share, so that one address cannot use up all of it."""

import ipaddress
from functools import lru_cache
from typing import Final

from authz.core.bounded import BoundedDict

MAX_ADDRESSES: Final = 10_000
MAX_TEXT: Final = 64  # characters of an address; longer text counts as no address
NEWCOMERS: Final = 8  # 1/8 of the rate is kept for addresses that were not there a second ago


class FairBudget:
    """`rate` tokens a second, rounded down, at least 1. Time is an argument and does not go back.

    In each second every address gets an equal share of 7/8 of the rate, by the number of addresses
    in the second before; the whole rate if there were none. A share is at least one token. IPv6
    addresses of one /64 network count as one.
    """

    def __init__(self, rate: float) -> None:
        self._rate = max(1, int(rate))
        self._share = self._left = self._rate
        self._ends = float("-inf")
        self._taken: BoundedDict[str, int] = BoundedDict(MAX_ADDRESSES)

    def take(self, address: str, now: float) -> bool:
        """Take a token for `address`. Return False if its share or the rate is used up, else True.

        Texts that are no IP address or are longer than 64 characters count as one address. `now`:
        seconds, never going back.
        """
        if now >= self._ends:
            self._begin(now)
        network = _network(address) if len(address) <= MAX_TEXT else ""
        taken = self._taken.get(network)
        if taken is None:
            taken = 0
            self._taken.put(network, 0)
        if taken >= self._share or not self._left:
            return False
        self._taken[network] = taken + 1
        self._left -= 1
        return True

    def _begin(self, now: float) -> None:
        known = len(self._taken)
        shared = self._rate - self._rate // NEWCOMERS
        self._share = max(1, shared // known) if known else self._rate
        self._left = self._rate
        self._taken.clear()
        self._ends = now + 1


@lru_cache(MAX_ADDRESSES)
def _network(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv4Address):
        return text
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(int(address) >> 64)
