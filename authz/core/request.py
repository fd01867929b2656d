"""All that a policy may look at."""

import codecs
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from authz.core.decision import Deny
from authz.core.keys.credentials import Imported, Presented
from authz.core.limits.amounts import Cost
from authz.core.tokens.presented import AcceptedToken, PresentedToken

IN_QUERY: Final = "?"  # the carrier of a key in the query; no header has this name


class Headers(Protocol):
    """The headers of a request by lower-case name. A client can write any bytes into a value."""

    def __contains__(self, name: str, /) -> bool:
        """Return whether the request has this header."""
        ...

    def __getitem__(self, name: str, /) -> bytes:
        """Return the value of a header that the request has. Duplicates are joined by a comma.

        Without this header an implementation may raise KeyError or return empty bytes.
        """
        ...


NO_HEADERS: Final[Headers] = MappingProxyType({})


def header_text(headers: Headers, name: str, default: str = "") -> str:
    """Return a header, or `default` if it is absent. Each byte that is no UTF-8 becomes `!`.

    name: in lower case.
    """
    return text_of(headers[name]) if name in headers else default


def text_of(value: bytes) -> str:
    """Return the value of a header as text. Each byte that is no UTF-8 becomes `!`, as in Envoy."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("utf-8", _ODD_BYTES)


def _as_envoy_does(cause: UnicodeError) -> tuple[str, int]:
    if not isinstance(cause, UnicodeDecodeError):
        raise cause
    return "!" * (cause.end - cause.start), cause.end


_ODD_BYTES: Final = "authz.odd_bytes"
codecs.register_error(_ODD_BYTES, _as_envoy_does)


class ChargeOnce(NamedTuple):
    """How a route tells retries: by the first of these headers that a request has.

    headers: in lower case. within_ms: how long a request is remembered.
    """

    headers: tuple[str, ...]
    within_ms: int


@dataclass(frozen=True, slots=True)
class Route:
    """Requirements of a route on a key, from the proxy's or our own configuration.

    Values of scopes may be the client's, where a rule takes them from the path.
    """

    scopes: frozenset[str] = frozenset()
    optional: bool = False  # no credential is an anonymous allow; a bad one is still denied
    env: str | None = None  # the environment a key must be of; None: either
    cost: Cost = 1  # what a request takes from limits; 0: nothing
    enforce: bool = True  # False: a refusal is reported, and the request is allowed
    label: str = ""  # of the matched rule, for usage records; never text of a client
    model: str = ""  # of an LLM, if the rule depends on it; text of a client, in MODEL's form
    priced_as: str = ""  # for usage records: the name of the model in the price table, or `other`
    public: bool = False  # marked for publishable keys; they are refused on every other route
    assertion: str = ""  # the audience of the signed identity header; empty: there is none
    terms: str = ""  # of the settlement, for usage records; empty: the cost is final
    charge_once: ChargeOnce | None = None  # None: each request is charged


class Request:
    """One request as the proxy described it.

    `credential` is the key or token, the refusal that reading it already led to, or None when there
    is none. `carrier` is the header that held it, in lower case, IN_QUERY, or empty. `token` is set
    when the credential is a token and the gate has accepted it.
    """

    # Not a dataclass: compiled, the constructor of one takes six times as long.
    __slots__ = (
        "carrier",
        "client_address",
        "credential",
        "headers",
        "host",
        "method",
        "path",
        "route",
        "token",
    )

    def __init__(  # noqa: PLR0917  as the fields of a dataclass
        self,
        credential: Presented | Imported | PresentedToken | Deny | None,
        carrier: str,
        route: Route,
        method: str,
        host: str,
        path: str,
        client_address: str,
        headers: Headers,
        token: AcceptedToken | None = None,
    ) -> None:
        self.credential = credential
        self.carrier = carrier
        self.route = route
        self.method = method
        self.host = host
        self.path = path  # with the query, as it will be forwarded: may hold the key
        self.client_address = client_address
        self.headers = headers
        self.token = token

    def __repr__(self) -> str:
        return f"Request({self.method} {self.host} from {self.client_address}: {self.credential!r})"

    def header(self, name: str, default: str) -> str:
        """Return a header as text, or `default` if it is absent. Names are in lower case."""
        return header_text(self.headers, name, default)
