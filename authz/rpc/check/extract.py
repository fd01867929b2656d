"""CheckRequest -> Request. What Envoy says is read strictly; what is odd is refused, never guessed.

Rules:
1. One credential. Two carriers with a key, a duplicate or a comma-joined header: AMBIGUOUS.
2. An Authorization with none of our keys is somebody else's: neither a credential nor removed. So
   an imported key, which says nothing of itself, is read only from carriers without a scheme.
3. Never a URL parser: the path is split at the first `?`, the query at `&` and `=`.
4. What a route asks comes from context_extensions and our own rules, which no client can write. A
   name there that is not ours is a mistake, such as `scope`, and may have been a restriction.
5. Both header forms are read. The raw one is joined as Envoy joins the other, so both agree.
6. A client may write 60 KiB into one header: what is done with a value is linear in its length.
"""

import codecs
import logging
import re
from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import unquote

from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from google.protobuf.message import DecodeError

from authz.core import fields
from authz.core.decision import Deny, Reason
from authz.core.errors import BadInput
from authz.core.keys.credentials import Imported, Presented
from authz.core.keys.keyring import Keyring
from authz.core.request import Request, Route
from authz.core.routes import FACTS, NO_FACTS, Facts, RouteTable, facts

log = logging.getLogger("authz.check")

Header = Callable[[str, str], str]

MAX_HEADERS: Final = 1000  # Envoy's own limit is 100
MAX_ROUTES: Final = 1024

SAID: Final = ("scopes", "auth", "env", "cost")
_UNKNOWN: Final = Route()  # told apart by identity

BAD_REQUEST: Final = Deny(Reason.BAD_REQUEST)
AMBIGUOUS: Final = Deny(Reason.AMBIGUOUS_CREDENTIAL)
MALFORMED: Final = Deny(Reason.MALFORMED)

_parse_message: Final = CheckRequest.FromString


class Extractor:
    """Reads requests of one installation.

    carriers: `header:` or `header:scheme`, lower case. query: a parameter that may hold the key,
    or empty. address_header: the header with the client's address, or empty for the peer. env: the
    environment of routes that name none. rules: of our own settings; what context_extensions say
    wins over them, fact by fact.
    """

    def __init__(
        self,
        keyring: Keyring,
        *,
        carriers: Iterable[str],
        query: str = "",
        address_header: str = "",
        env: str | None = None,
        rules: RouteTable | None = None,
    ) -> None:
        self._parse = keyring.parse
        self._parse_imported = keyring.parse_imported
        self._claims = keyring.claims
        self._carriers = tuple(_carrier(text) for text in carriers)
        bare = {name for name, scheme in self._carriers if scheme is None}
        self._with_scheme = {name for name, _ in self._carriers} - bare
        self._query = re.compile(rf"(?:^|&){re.escape(query)}=([^&]+)") if query else None
        self._address_header = address_header
        self._env = env
        self._rules = rules
        self._default_route = Route(env=env)
        self._routes: dict[tuple[str | Facts, ...], Route | None] = {}
        self._strange: set[frozenset[str]] = set()

    def read(self, raw: bytes) -> Request:
        """The request, whatever `raw` is: one that makes no sense carries its refusal."""
        try:
            attributes = _parse_message(raw).attributes
        except DecodeError:
            return refused(BAD_REQUEST)
        http = attributes.request.http
        header, count = _headers(http)
        method, path, host = http.method, http.path, http.host
        extensions = attributes.context_extensions
        if (
            not method
            or not host
            or "," in host
            or not (path or method == "CONNECT")
            or count > MAX_HEADERS
        ):
            return refused(BAD_REQUEST, header)
        if extensions or self._rules is not None:
            route = self._route(extensions, method, host, path)
            if isinstance(route, Deny):
                return refused(route, header)
        else:
            route = self._default_route
        credential, carrier = self._credential(header, path)
        return Request(
            credential,
            carrier,
            route,
            method,
            host,
            path,
            header(self._address_header, "")
            if self._address_header
            else attributes.source.address.socket_address.address,
            header,
        )

    def _credential(
        self, header: Header, path: str
    ) -> tuple[Presented | Imported | Deny | None, str]:
        """The credential, and the header that holds it."""
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
        if self._query is not None:
            values = self._query.findall(path.partition("?")[2])
            if len(values) + bool(found) > 1:
                return AMBIGUOUS, ""
            found = found or "".join(values)
        if not found:
            return None, ""
        presented = self._parse(found)
        if presented is not None:
            return presented, carrier
        foreign = self._foreign(found, carrier)
        return foreign, carrier if isinstance(foreign, Imported) else ""

    def _foreign(self, found: str, carrier: str) -> Imported | Deny:
        """What a text is that is not one of our keys."""
        if "," in found:
            return AMBIGUOUS
        if carrier in self._with_scheme:
            return MALFORMED
        # In a query some characters of a key are written as %2B and the like.
        return self._parse_imported(found if carrier else unquote(found)) or MALFORMED

    def _after_scheme(self, value: str, scheme: re.Pattern[str]) -> str:
        """What claims to be our key after the scheme, or empty; a joined header with one whole."""
        ours = [token for token in scheme.findall(value) if self._claims(token)]
        if not ours:
            return ""
        return value if "," in value else ours[0].rstrip(" ")

    def _route(self, extensions: Any, method: str, host: str, path: str) -> Route | Deny:
        """What the route asks for, or why it cannot be told."""
        fact = extensions.get
        said = (fact("scopes", ""), fact("auth", ""), fact("env", ""), fact("cost", ""))  # SAID
        if len(extensions) > len(said) - said.count("") and not FACTS.issuperset(extensions):
            self._warn_of(frozenset(extensions) - FACTS)
            return BAD_REQUEST
        rule = NO_FACTS if self._rules is None else self._rules.require(method, host, path)
        if rule is Reason.ROUTE_NOT_ALLOWED and any(said):
            rule = NO_FACTS
        if not isinstance(rule, Facts):
            return Deny(rule)
        route = self._routes.get((*said, rule), _UNKNOWN)
        if route is _UNKNOWN:
            route = self._learn(said, rule)
        return route or BAD_REQUEST

    def _learn(self, said: tuple[str, str, str, str], rule: Facts) -> Route | None:
        """Understand facts once; None when they make no sense."""
        try:
            route = self._combine(facts(dict(zip(SAID, said, strict=True))), rule)
        except BadInput as cause:
            log.warning("a route is refused, its context_extensions make no sense: %s", cause)
            route = None
        if len(self._routes) >= MAX_ROUTES:
            self._routes.clear()
        self._routes[*said, rule] = route
        return route

    def _warn_of(self, strange: frozenset[str]) -> None:
        """Name them to the operator, once."""
        if strange in self._strange:
            return
        if len(self._strange) >= MAX_ROUTES:
            self._strange.clear()
        self._strange.add(strange)
        names, known = " ".join(map(fields.shown, sorted(strange))), " ".join(sorted(FACTS))
        log.warning(
            "a route is refused, its context_extensions say %s; there are %s", names[:200], known
        )

    def _combine(self, said: Facts, rule: Facts) -> Route:
        scopes = rule.scopes if said.scopes is None else said.scopes
        optional = rule.optional if said.optional is None else said.optional
        cost = rule.cost if said.cost is None else said.cost
        return Route(
            scopes=scopes or frozenset(),
            optional=optional or False,
            env=said.env or rule.env or self._env,
            cost=1 if cost is None else cost,
        )


def refused(refusal: Deny, header: Header = lambda _name, default: default) -> Request:
    """A request of which nothing is known but its headers, and that it is refused."""
    return Request(refusal, "", Route(), "", "", "", "", header)


def _carrier(text: str) -> tuple[str, re.Pattern[str] | None]:
    """The header, and what finds each token after the scheme, also in a joined header."""
    name, _, scheme = text.partition(":")
    if not scheme:
        return name, None
    return name, re.compile(rf"(?:^|,)[ \t]*{re.escape(scheme)} +([^,]*)", re.IGNORECASE | re.ASCII)


def _headers(http: Any) -> tuple[Header, int]:
    """What gives a header by its lower-case name, and how many headers there are."""
    headers = http.headers
    if headers:
        return headers.get, len(headers)
    entries = http.header_map.headers
    return _RawHeaders(entries).get, len(entries)


class _RawHeaders:
    """Raw headers, read as Envoy would have joined them."""

    __slots__ = ("_entries", "_names")

    def __init__(self, entries: Any) -> None:
        self._entries = entries
        self._names = [entry.key for entry in entries]

    def get(self, name: str, default: str) -> str:
        """A header by its lower-case name: duplicates with a comma, an odd byte as `!`."""
        count = self._names.count(name)
        if not count:
            return default
        if count == 1:
            return _text(self._entries[self._names.index(name)])
        pairs = zip(self._names, self._entries, strict=True)
        return ",".join(_text(entry) for found, entry in pairs if found == name)


def _text(entry: Any) -> str:
    raw: bytes = entry.raw_value
    return raw.decode("utf-8", _ODD_BYTES) if raw else entry.value


def _as_envoy_does(cause: UnicodeError) -> tuple[str, int]:
    if not isinstance(cause, UnicodeDecodeError):
        raise cause
    return "!" * (cause.end - cause.start), cause.end


_ODD_BYTES: Final = "authz.odd_bytes"
codecs.register_error(_ODD_BYTES, _as_envoy_does)
