"""CheckRequest -> Request. What Envoy says is read strictly; what is odd is refused, never guessed.

Rules:
1. One credential. Two carriers with a key, a duplicate or a comma-joined header: AMBIGUOUS.
2. An Authorization with none of our keys is somebody else's: neither a credential nor removed.
3. Never a URL parser: the path is split at the first `?`, the query at `&` and `=`.
4. What a route asks comes from context_extensions, which no client can write.
5. Both header forms are read. The raw one is joined as Envoy joins the other, so both agree.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from google.protobuf.message import DecodeError

from authz.core import fields
from authz.core.decision import Deny, Reason
from authz.core.errors import BadInput
from authz.core.keys import Keyring, Presented
from authz.core.request import Request, Route

MAX_HEADERS: Final = 1000  # Envoy's own limit is 100
MAX_ROUTES: Final = 1024

BAD_REQUEST: Final = Deny(Reason.BAD_REQUEST)
AMBIGUOUS: Final = Deny(Reason.AMBIGUOUS_CREDENTIAL)
MALFORMED: Final = Deny(Reason.MALFORMED)

_parse_message: Final = CheckRequest.FromString


class Extractor:
    """Reads requests of one installation.

    carriers: `header:` or `header:scheme`, lower case. query: a parameter that may hold the key,
    or empty. address_header: the header with the client's address, or empty for the peer. env: the
    environment of routes that name none.
    """

    def __init__(
        self,
        keyring: Keyring,
        *,
        carriers: Iterable[str],
        query: str = "",
        address_header: str = "",
        env: str | None = None,
    ) -> None:
        self._parse = keyring.parse
        self._claims = keyring.claims
        self._carriers = tuple(
            (name, scheme) for name, _, scheme in (c.partition(":") for c in carriers)
        )
        self._query = query
        self._address_header = address_header
        self._env = env
        self._default_route = Route(env=env)
        self._routes: dict[tuple[str, str, str], Route] = {}

    def read(self, raw: bytes) -> Request:
        """The request, whatever `raw` is: one that makes no sense carries its refusal."""
        try:
            attributes = _parse_message(raw).attributes
            return self._read(attributes)
        except (DecodeError, BadInput):
            return refused(BAD_REQUEST)

    def _read(self, attributes: Any) -> Request:
        http = attributes.request.http
        headers = http.headers
        header = headers.get if headers else _join(http.header_map.headers).get
        method, path, host = http.method, http.path, http.host
        if (
            not method
            or not host
            or "," in host
            or not (path or method == "CONNECT")
            or len(headers) > MAX_HEADERS
        ):
            return refused(BAD_REQUEST)
        extensions = attributes.context_extensions
        credential, carrier = self._credential(header, path)
        return Request(
            credential,
            carrier,
            self._route(extensions) if extensions else self._default_route,
            method,
            host,
            path,
            header(self._address_header, "")
            if self._address_header
            else attributes.source.address.socket_address.address,
            header,
        )

    def _credential(
        self, header: Callable[[str, str], str], path: str
    ) -> tuple[Presented | Deny | None, str]:
        found, carrier = "", ""
        for name, scheme in self._carriers:
            value = header(name, "")
            if value and scheme:
                value = self._after_scheme(value, scheme)
            if not value:
                continue
            if found:
                return AMBIGUOUS, ""
            found, carrier = value, name
        if self._query:
            for value in self._in_query(path):
                if found:
                    return AMBIGUOUS, ""
                found, carrier = value, self._query
        if not found:
            return None, ""
        presented = self._parse(found)
        if presented is not None:
            return presented, carrier
        return (AMBIGUOUS if "," in found else MALFORMED), ""

    def _after_scheme(self, value: str, scheme: str) -> str:
        """Our key after `scheme`, or empty: another scheme, or a token that is not ours."""
        if "," in value:
            parts = (self._after_scheme(part.strip(), scheme) for part in value.split(","))
            return value if any(parts) else ""
        given, _, token = value.partition(" ")
        token = token.strip(" ")
        return token if given.lower() == scheme and self._claims(token) else ""

    def _in_query(self, path: str) -> Iterable[str]:
        for pair in path.partition("?")[2].split("&"):
            name, _, value = pair.partition("=")
            if name == self._query and value:
                yield value

    def _route(self, extensions: Any) -> Route:
        facts = (
            extensions.get("scopes", ""),
            extensions.get("auth", ""),
            extensions.get("env", ""),
        )
        route = self._routes.get(facts)
        if route is None:
            if "cost" in extensions:
                raise BadInput("cost", "not yet enforced by this version")
            route = self._understand(*facts)
            if len(self._routes) < MAX_ROUTES:
                self._routes[facts] = route
        return route

    def _understand(self, scopes: str, auth: str, env: str) -> Route:
        if auth not in {"", "required", "optional"}:
            raise BadInput("auth", "required or optional")
        return Route(
            scopes=fields.scopes("scopes", scopes.split()),
            optional=auth == "optional",
            env=fields.environment("env", env) if env else self._env,
        )


def refused(refusal: Deny) -> Request:
    """A request of which nothing is known but that it is refused."""
    return Request(refusal, "", Route(), "", "", "", "", _no_header)


def _no_header(_name: str, default: str) -> str:
    return default


def _join(raw_headers: Any) -> dict[str, str]:
    """Raw headers as Envoy joins them: duplicates with a comma, lower-case names."""
    if len(raw_headers) > MAX_HEADERS:
        raise BadInput("headers", f"more than {MAX_HEADERS}")
    joined: dict[str, str] = {}
    for entry in raw_headers:
        name = entry.key.lower()
        value = entry.raw_value.decode("latin-1") if entry.raw_value else entry.value
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined
