"""Whether an address belongs to the public internet, also inside the addresses that embed another.

A server that sends requests to configured targets must not be used to reach internal ones: see
OWASP, Server-Side Request Forgery Prevention.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from authz.core.fields import Network

# Their last 32 bits are an IPv4 address: NAT64 (RFC 6052), IPv4-compatible, and IPv4-translated
# (RFC 2765).
_LAST_IPV4: Final = tuple(map(IPv6Network, ("64:ff9b::/96", "::/96", "::ffff:0:0:0/96")))
_IPV4: Final = 0xFFFFFFFF
# In IANA's registries of special addresses, and not yet in Python's. In 64:ff9b:1::/48 (local
# NAT64, RFC 8215) only the translator knows which bits are the IPv4 address. The last one is of the
# platform, in every virtual network of Azure.
_SPECIAL: Final = tuple(
    map(
        ip_network,
        ("192.0.0.0/24", "3fff::/20", "5f00::/16", "64:ff9b:1::/48", "168.63.129.16/32"),
    )
)


def may_be_reached(address: str, allowed: Iterable[Network] = ()) -> bool:
    """Return whether `address` is public or in an allowed network. False for any other text.

    Of an IPv6 address that embeds an IPv4 address, both count.
    """
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if any(found in network for network in allowed):
        return True
    return all(_is_public(one) for one in (found, *_embedded(found)))


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    is_site_local = isinstance(address, IPv6Address) and address.is_site_local
    is_special = is_site_local or any(address in network for network in _SPECIAL)
    return address.is_global and not address.is_multicast and not is_special


def _embedded(address: IPv4Address | IPv6Address) -> list[IPv4Address]:
    if isinstance(address, IPv4Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if any(address in network for network in _LAST_IPV4):
        found.append(IPv4Address(int(address) & _IPV4))
    return [one for one in found if one is not None]
