"""The parts of a request that an allow removes because they hold a key."""

from collections.abc import Callable
from typing import NamedTuple

from authz.core.request import IN_QUERY, Request


class Strip(NamedTuple):
    """headers: the names of headers to remove. query: whether to remove the query parameter."""

    headers: tuple[str, ...] = ()
    query: bool = False


# Returns the carriers of a request that hold a key in any form. None: a key stands where it cannot
# be removed, or the request could not be read.
KeyFinder = Callable[[Request], Strip | None]


def carrier_strip(carrier: str) -> Strip:
    """Return the strip of the one key in `carrier`. An empty carrier strips nothing."""
    if carrier == IN_QUERY:
        return Strip(query=True)
    return Strip((carrier,) if carrier else ())
