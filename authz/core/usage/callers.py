"""Facts of a request that are coarse enough to keep: network, family of the user agent, method."""

import ipaddress
import re
from typing import Final

MAX_FAMILY: Final = 32  # characters
NONE: Final = "none"
OTHER: Final = "other"

# Names that stand in a user agent beside those of browsers that it claims to be like. In order.
_BROWSERS: Final = (
    *((b"Edg", "Edge"), (b"OPR/", "Opera"), (b"Firefox/", "Firefox"), (b"Chrome/", "Chrome")),
    (b"Safari/", "Safari"),
)
_METHOD: Final = re.compile(rb"[A-Z][A-Z-]{0,19}", re.ASCII)
_PRODUCT: Final = re.compile(rb"[A-Za-z][A-Za-z0-9._-]{0,31}(?=[/ ;(]|\Z)", re.ASCII)


def network(text: bytes) -> str:
    """Return the network of an address, such as `192.0.2.0/24`; "" if it is no address.

    `/24` of IPv4, `/48` of IPv6. IPv4-mapped IPv6 counts as IPv4.
    """
    try:
        address = ipaddress.ip_address(text.decode("ascii"))
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            found = ipaddress.IPv6Network((int(address) >> 80 << 80, 48))
            return str(found)
        address = address.ipv4_mapped
    return str(ipaddress.IPv4Network((int(address) >> 8 << 8, 24)))


def agent_family(text: bytes) -> str:
    """Return the family of a user agent: a browser, or the first product's name without a version.

    At most 32 of A-Z a-z 0-9 . _ -. `none` if the text is empty or `-`, `other` if it has no name.
    """
    if text in {b"", b"-"}:
        return NONE
    if text.startswith(b"Mozilla/"):
        return next((name for mark, name in _BROWSERS if mark in text), "Mozilla")
    match = _PRODUCT.match(text)
    return match[0].decode("ascii") if match else OTHER


def method(text: bytes) -> str:
    """Return the method of a request, such as `GET`; "" if it is not at most 20 of A-Z and -."""
    return text.decode("ascii") if _METHOD.fullmatch(text) else ""


def last_words(rest: bytes, blanks: int) -> list[bytes]:
    """Return the words of the end of a line; after so many blanks the rest is one word.

    Words that the line lacks are empty: whoever adds lines up fast does not look for each.
    """
    words = rest.split(b" ", blanks)
    return words + [b""] * (blanks + 1 - len(words))
