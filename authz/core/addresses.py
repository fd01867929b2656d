"""Addresses and address blocks as integers, so that a check of a block costs one comparison.

An integer holds the version of an address above its 128 bits. So an IPv4 address is in no IPv6
block, not even in `::/0`.
"""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from authz.core.fields import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Block = tuple[int, int]
"""The bits of an address that a block fixes, as a mask, and their value."""

MAX_ADDRESS: Final = 64  # characters; longer text is no address and must not fill the cache
_VERSION_BIT: Final = 128
_VERSION_MASK: Final = 0xFF << _VERSION_BIT


def blocks_of(networks: Iterable[Network]) -> tuple[Block, ...]:
    """Return each network as (mask, value). An address is inside if `address & mask == value`.

    The address comes from `parse_address`.
    """
    return tuple(
        (_VERSION_MASK | int(network.netmask), _with_version(network.network_address))
        for network in networks
    )


@lru_cache(8192)
def parse_short_address(text: str) -> int | None:
    """Return what `parse_address` does, for a text of at most MAX_ADDRESS (64) characters."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return _with_version(getattr(address, "ipv4_mapped", None) or address)


def parse_address(text: str) -> int | None:
    """Return an address with its version as an integer, or None if the text is no address.

    An IPv4-mapped IPv6 address is the IPv4 address. A zone (`%eth0`) does not count.
    """
    return parse_short_address(text) if len(text) <= MAX_ADDRESS else None


def _with_version(address: Address) -> int:
    return address.version << _VERSION_BIT | int(address)
