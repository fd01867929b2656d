"""The parts of a request that an allow removes because they hold a key."""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from authz.core.request import IN_QUERY, Request

_CONTROL: Final = re.compile(r"[\x00-\x20\x7f]", re.ASCII)


class Strip(NamedTuple):
    """headers: the names of headers to remove. query: whether to take the key out of the query."""

    headers: tuple[str, ...] = ()
    query: bool = False


def without_parameter(path: str, name: str) -> str:
    """Return the path without each query parameter of that name; the rest stays byte for byte.

    Names are compared as they are written, without decoding. A `?` without a parameter left is
    dropped. Blanks and control characters of the whole path, which Envoy passes on from no client,
    are percent-encoded.
    """
    bare, _, query = path.partition("?")
    left = "&".join(part for part in query.split("&") if part.partition("=")[0] != name)
    whole = f"{bare}?{left}" if left else bare
    return _CONTROL.sub(lambda found: f"%{ord(found[0]):02X}", whole)


# Returns the carriers of a request that hold a key in any form. None: a key stands where it cannot
# be removed, or the request could not be read.
KeyFinder = Callable[[Request], Strip | None]


def carrier_strip(carrier: str) -> Strip:
    """Return the strip of the one key in `carrier`. An empty carrier strips nothing."""
    if carrier == IN_QUERY:
        return Strip(query=True)
    return Strip((carrier,) if carrier else ())
