"""The fields of a key: one strict parser for each kind of value.

A parser takes text from a person or a stored record. It returns the value, or raises BadInput that
names the field, the problem and a good value. Ids and scopes become header values, so they contain
no blank, quote, comma or control character.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Final, TypeVar

from authz.core.errors import BadInput
from authz.core.keys.text import ENVIRONMENTS, KID_PATTERN

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_T = TypeVar("_T")

MAX_ENTRIES: Final = 100
MAX_SCOPES_LENGTH: Final = 4096  # all scopes of a key, as one header value
MAX_METADATA: Final = 32
MAX_TEXT: Final = 256
MAX_SHOWN: Final = 42
MAX_HOST: Final = 253  # RFC 1035
MAX_ORIGIN: Final = 300

ID_CHARACTERS: Final = "A-Z a-z 0-9 . _ : @ | / + -"
_ID = re.compile(r"[A-Za-z0-9._:@|/+-]{1,128}", re.ASCII)
# A possessive group looks ahead, so that it never fails half way: before 3.11.5, Python does not go
# back to its beginning then (https://github.com/python/cpython/issues/106052).
_SCOPE = re.compile(
    r"\*|[A-Za-z0-9._/@+-]++(?:(?=:[A-Za-z0-9._/@+-]):[A-Za-z0-9._/@+-]++)*+(?::\*)?", re.ASCII
)
_SCOPE_PART = re.compile(r"[A-Za-z0-9._/@+-]{1,128}", re.ASCII)
_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_LABELS = rf"{_LABEL}(?:(?=\.[a-z0-9_])\.{_LABEL})*+"
_HOST = re.compile(rf"(?:\*\.)?{_LABELS}", re.ASCII)
_ORIGIN = re.compile(rf"([a-z][a-z0-9+.-]*)://((?:\*\.)?{_LABELS})(?::([1-9]\d{{0,4}}))?", re.ASCII)
_IMPLIED_PORT: Final = {"http": "80", "https": "443"}
_METADATA_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_DURATION = re.compile(r"(\d{1,12})(ms|s|m|min|h|d)", re.ASCII)
_UNIT_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
MAX_DURATION_MS: Final = 100 * 365 * 86_400_000
MAX_OUTAGE_GRACE_MS: Final = 86_400_000


def shown(text: str) -> str:
    """Return `text` for a message: quoted, escaped to printable ASCII, at most 42 characters.

    The end of longer text is replaced by `...`.
    """
    clean = ascii(text)
    return clean if len(clean) <= MAX_SHOWN else f"{clean[: MAX_SHOWN - 4]}...{clean[-1]}"


def folded(text: str) -> str:
    """Return ASCII text in lower case, other text as it is.

    Lower case turns some other letters into ASCII, such as the Kelvin sign into k.
    """
    return text.lower() if text.isascii() else text


def identifier(field: str, text: str) -> str:
    """Return a `client_id`, `project_id` or `tenant_id` unchanged. They become header values.

    Raises BadInput unless it is 1 to 128 of ID_CHARACTERS.
    """
    if not _ID.fullmatch(text):
        raise BadInput(field, f"{shown(text)}: 1 to 128 of {ID_CHARACTERS}, such as acme-web")
    return text


def kid(field: str, text: str) -> str:
    """Return a kid unchanged. Raises BadInput unless it is 16 letters and digits.

    The message does not show refused text: it may be a whole key.
    """
    if not KID_PATTERN.fullmatch(text):
        raise BadInput(field, "not a kid: 16 letters and digits, such as 7Hk2mQ9xT4bVzR1c")
    return text


def environment(field: str, text: str) -> str:
    """Return an environment unchanged. Raises BadInput unless it is `live` or `test`."""
    if text not in ENVIRONMENTS:
        raise BadInput(field, f"{shown(text)}: one of {', '.join(ENVIRONMENTS)}")
    return text


def line(field: str, text: str, limit: int = MAX_TEXT) -> str:
    """Return one line of text unchanged: a name, a reason, an actor. Empty text is accepted.

    Raises BadInput if it has more than `limit` characters or one that is not printable.
    """
    if len(text) > limit or not text.isprintable():
        raise BadInput(field, f"{shown(text)}: one printable line of at most {limit} characters")
    return text


def scopes(field: str, given: Iterable[str]) -> frozenset[str]:
    """Parse the scopes of a key, such as `models:generate`, `models:*` or `*`.

    `given` may be empty. Raises BadInput if one is no scope or longer than 256 characters, or if
    there are more than 100 scopes or 4096 characters in all.
    """
    found = frozenset(given)
    for scope in found:
        if len(scope) > MAX_TEXT or not _SCOPE.fullmatch(scope):
            raise BadInput(field, f"{shown(scope)} is not a scope, such as models:generate")
    if len(found) > MAX_ENTRIES or sum(map(len, found)) + len(found) > MAX_SCOPES_LENGTH:
        raise BadInput(field, f"at most {MAX_ENTRIES} scopes and {MAX_SCOPES_LENGTH} characters")
    return found


def is_part_of_scope(text: str) -> bool:
    """Return whether `text` may stand between two colons of a scope: 1 to 128 characters.

    A star may not.
    """
    return _SCOPE_PART.fullmatch(text) is not None


def networks(field: str, given: Iterable[str]) -> tuple[Network, ...]:
    """Parse CIDR blocks, each kept once, in order. IPv4-mapped IPv6 becomes IPv4.

    Raises BadInput for another text, a block with host bits, an IPv6 zone, or more than 100 blocks.
    """
    return _entries(field, (_network(field, text) for text in given))


def hosts(field: str, given: Iterable[str]) -> tuple[str, ...]:
    """Parse host names, exact or `*.suffix`, without a port: in lower case, each once, in order.

    Raises BadInput if one is no host name, or if there are more than 100.
    """
    return _entries(field, (_host(field, text) for text in given))


def origins(field: str, given: Iterable[str]) -> tuple[str, ...]:
    """Parse origins (RFC 6454), exact or with a `*.suffix` host: in lower case, each once.

    A bare host gets `https://`. A port that its scheme implies is dropped. Raises BadInput if one
    is no origin or is `null`, or if there are more than 100.
    """
    return _entries(field, (_origin(field, text) for text in given))


def metadata(field: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of the operator's notes on a key. Nothing interprets or forwards them.

    Raises BadInput if there are more than 32, a name is not 1 to 64 of A-Z a-z 0-9 . _ -, or a
    value is not one printable line of at most 256 characters.
    """
    if len(given) > MAX_METADATA:
        raise BadInput(field, f"at most {MAX_METADATA} entries")
    for name, value in given.items():
        if not is_metadata_name(name):
            raise BadInput(field, f"{shown(name)}: a name is 1 to 64 of A-Z a-z 0-9 . _ -")
        line(field, value)
    return dict(given)


def is_metadata_name(text: str) -> bool:
    """Return whether `text` may name an entry in the metadata of a key."""
    return _METADATA_NAME.fullmatch(text) is not None


def duration_ms(field: str, text: str) -> int:
    """Parse a duration into milliseconds: `0`, or digits with ms, s, m, min, h or d, such as `90d`.

    Raises BadInput for any other text and above 100 years.
    """
    if text == "0":
        return 0
    match = _DURATION.fullmatch(text)
    if match is None:
        raise BadInput(field, f"{shown(text)} is not a duration, such as 50ms, 30s or 90d")
    amount = int(match[1]) * _UNIT_MS[match[2]]
    if amount > MAX_DURATION_MS:
        raise BadInput(field, f"{shown(text)} is longer than 100 years")
    return amount


def outage_grace_ms(field: str, text: str) -> int:
    """Parse the outage grace of a key into milliseconds: `0` to `1d`. Raises BadInput otherwise."""
    amount = duration_ms(field, text)
    if amount > MAX_OUTAGE_GRACE_MS:
        raise BadInput(field, f"{shown(text)}: a duration from 0 to 1d")
    return amount


def split_host(authority: str) -> str:
    """Return the host of `host[:port]`, without the port and one final dot.

    ASCII is put in lower case. Other text keeps its case. `[::1]:80` gives `[::1]`.
    """
    host, colon, port = authority.rpartition(":")
    if not colon or not (port.isascii() and port.isdecimal()):
        host = authority
    return folded(host).removesuffix(".")


def host_matches(pattern: str, host: str) -> bool:
    """Return whether `host` is `pattern`, or is below it for `*.suffix`.

    `*.example.com` does not match `example.com`. host: in lower case, without a port.
    """
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return host == pattern


def _entries(field: str, given: Iterable[_T]) -> tuple[_T, ...]:
    found = tuple(dict.fromkeys(given))
    if len(found) > MAX_ENTRIES:
        raise BadInput(field, f"at most {MAX_ENTRIES} entries")
    return found


@lru_cache(4096)
def _network(field: str, text: str) -> Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        network = None
    if network is None or "%" in text:  # comparisons of addresses ignore a zone
        raise BadInput(field, f"{shown(text)} is not an address block{_right_block(text)}")
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is not None:
        return ipaddress.IPv4Network((mapped, network.prefixlen - 96))
    return network


def _right_block(text: str) -> str:
    """Return the end of a sentence: the block that was meant by 10.0.0.1/8, else examples."""
    with suppress(ValueError):
        if "%" not in text:
            return f": its block is {ipaddress.ip_network(text, strict=False)}"
    return ", such as 10.0.0.0/8 or 2001:db8::/32"


def _host(field: str, text: str) -> str:
    host = folded(text)
    if len(host) > MAX_HOST or not _HOST.fullmatch(host):
        raise BadInput(
            field, f"{shown(text)} is not a host, such as api.example.com or *.example.com"
        )
    return host


def _origin(field: str, text: str) -> str:
    origin = folded(text)
    if origin == "null":  # browsers send it for pages without an origin, and anybody can
        raise BadInput(field, "'null' stands for no origin; such as https://app.example.com")
    if "://" not in origin:
        origin = f"https://{origin}"
    match = _ORIGIN.fullmatch(origin) if len(origin) <= MAX_ORIGIN else None
    if match is None or len(match[2]) > MAX_HOST or int(match[3] or 0) >= 1 << 16:
        raise BadInput(field, f"{shown(text)} is not an origin, such as https://app.example.com")
    scheme, host, port = match.groups()
    # RFC 6454, section 6.2: a browser leaves out the port that the scheme implies.
    return f"{scheme}://{host}" if port == _IMPLIED_PORT.get(scheme) else origin
