"""All that a policy may look at."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from authz.core.decision import Deny
from authz.core.keys.credentials import Imported, Presented

IN_QUERY: Final = "?"  # the carrier of a key in the query; no header has this name


@dataclass(frozen=True, slots=True)
class Route:
    """Requirements of a route on a key, from the proxy's or our own configuration.

    Values of scopes may be the client's, where a rule takes them from the path.
    """

    scopes: frozenset[str] = frozenset()
    optional: bool = False  # no credential is an anonymous allow; a bad one is still denied
    env: str | None = None  # the environment a key must be of; None: either
    cost: int = 1  # what a request takes from limits; 0: nothing
    enforce: bool = True  # False: a refusal is reported, and the request is allowed
    label: str = ""  # of the matched rule, for usage records; never text of a client


@dataclass(slots=True, eq=False)
class Request:
    """One request as the proxy described it.

    `credential` is the key, the refusal that reading it already led to, or None when there is none.
    `carrier` is the header that held it, in lower case, IN_QUERY, or empty. `header` gives a header
    by its lower-case name, or the second argument; a client can write any value.
    """

    credential: Presented | Imported | Deny | None
    carrier: str
    route: Route
    method: str
    host: str
    path: str = field(repr=False)  # with the query, as it will be forwarded: may hold the key
    client_address: str
    header: Callable[[str, str], str] = field(repr=False)
