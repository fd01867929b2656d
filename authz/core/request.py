"""All that a policy may look at."""

from dataclasses import dataclass

from authz.core.decision import Deny
from authz.core.keys import Presented


@dataclass(frozen=True, slots=True)
class Route:
    """What a route asks of a key, by the proxy's or our own configuration, never by the client."""

    scopes: frozenset[str] = frozenset()
    optional: bool = False  # no credential is an anonymous allow; a bad one is still denied
    env: str | None = None  # the environment a key must be of; None: either


@dataclass(slots=True, eq=False)
class Request:
    """One request as the proxy described it.

    `credential` is the key, the refusal that reading it already led to, or None when there is none.
    `carrier` is the header or the query parameter that held it, in lower case.
    """

    credential: Presented | Deny | None
    carrier: str
    route: Route
    method: str
    host: str
    path: str  # without the query
    client_address: str
    origin: str
    request_id: str  # empty, or safe to show
    is_grpc: bool
