"""CheckRequest -> Request. The message is read strictly; odd input is refused, never guessed.

Rules:
1. Only the fields of `CheckView` are read, so no byte in another field can spoil a message.
2. The path is split at the first `?`, never by a URL parser.
3. A method in lower case, a host that is no host and a port that is no number are refused: backends
   read them as the proper ones, and rules would not.
4. Requirements come from context_extensions and our own rules, which no client can write. An
   unknown name there is a mistake, such as `scope`, and may have been a restriction.
5. Both header forms are read. The raw one is joined as Envoy joins the other, so both agree.
6. A client may write 60 KiB into one header: the work on a value is linear in its length.
"""

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from google.protobuf.message import DecodeError

from authz.core import fields
from authz.core.budgets.spending import Spending
from authz.core.decision import Deny, Reason
from authz.core.errors import BadInput
from authz.core.keys.keyring import Keyring
from authz.core.request import NO_HEADERS, Headers, Request, Route, header_text
from authz.core.route_facts import FACT_NAMES, FACTS, NO_FACTS, Facts, Refusal, facts
from authz.core.routes import RouteTable
from authz.rpc.check.credential import CredentialReader
from authz.rpc.check.pricing import NO_PRICES, Pricing, priced_route
from authz.rpc.check.raw_headers import RawHeaders
from authz.rpc.check.repeated_parts import Peers, Targets
from authz.rpc.check.required import BAD_ROUTE, model_of, required
from authz.rpc.check.strip import Strip, carrier_strip
from authz.rpc.pb.check.v1.check_view_pb2 import CheckView

log = logging.getLogger("authz.check")

MAX_HEADERS: Final = 1000  # Envoy's own limit is 100
MAX_ROUTES: Final = 1024
_MANY: Final = 2 * MAX_HEADERS  # bytes: a raw header has at least two

_NOTHING: Final = ("",) * len(FACT_NAMES)
_COST: Final = FACT_NAMES.index("cost")
NO_ROUTE: Final = Route()
_UNKNOWN: Final = Route()  # told apart by identity

BAD_REQUEST: Final = Deny(Reason.BAD_REQUEST)

_parse_message: Final = CheckView.FromString


class Extractor:
    """Reads requests of one installation.

    carriers, query: see CredentialReader. address_header: the header with the client's address, or
    empty for the peer. env, enforce: defaults of a route that names none. rules: of our own
    settings; what context_extensions say wins over them, fact by fact. pricing: of models.
    """

    def __init__(
        self,
        keyring: Keyring,
        *,
        carriers: Iterable[str],
        query: str = "",
        address_header: str = "",
        env: str | None = None,
        enforce: bool = True,
        rules: RouteTable | None = None,
        pricing: Pricing = NO_PRICES,
    ) -> None:
        self._reader = CredentialReader(keyring, carriers, query)
        self._credential = self._reader.find
        self._carriers = [(name, name.encode()) for name in self._reader.header_names]
        self._address_header = address_header
        self._env = env
        self._enforce = enforce
        self._rules = rules
        self._pricing = pricing
        self._reads_model = rules is not None and rules.reads_model
        self._bare_route = Route(env=env, enforce=enforce) if rules is None else None
        self._routes: dict[object, Route | None] = {}
        self._scoped: dict[str, Route] = {}  # by the text of `scopes`, without rules of ours
        self._scoped_route = self._scoped.get
        self._strange: set[frozenset[str]] = set()
        self._targets = Targets()
        self._peers = Peers()

    def read(self, raw: bytes) -> Request:
        """Return the request in a serialised CheckRequest.

        Never raises for odd input: the credential of the request is then a Deny. It is BAD_REQUEST
        for an invalid message, method, host or path, more than MAX_HEADERS (1000) headers, or
        invalid context_extensions, which are logged; or the refusal of our own rules, or of
        `CredentialReader.find`.
        """
        try:
            attributes = _parse_message(raw).attributes
            http = attributes.request.http
            mapped = http.headers
            count = len(mapped)
            if count:
                headers: Headers = mapped
                carried, has_too_many = headers, count > MAX_HEADERS
            else:
                serialised = http.header_map
                headers = raw_headers = RawHeaders(serialised)
                carried = raw_headers.pick(self._carriers)
                has_too_many = len(serialised) > _MANY and raw_headers.exceed(MAX_HEADERS)
            target = self._targets[http.method, http.host]
            try:
                path = http.path.decode()
            except UnicodeDecodeError:
                return refused(BAD_REQUEST, headers)
            wanted = self._address_header
            address = header_text(headers, wanted) if wanted else self._peers[attributes.source]
            extensions = attributes.context_extensions
            if target is None or has_too_many or not (path or target[0] == "CONNECT"):
                method, host = http.method.decode("latin-1"), http.host.decode("latin-1")
                odd = Request(BAD_REQUEST, "", NO_ROUTE, method, host, path, address, headers)
                return self._refuse(odd, extensions)
            method, host = target
            if len(extensions) == 1 and "scopes" in extensions:  # as most routes
                route = self._scoped_route(extensions["scopes"])
            else:
                route = None if extensions else self._bare_route
            if route is None:
                found = self._route(attributes, extensions, target, path, headers)
                if isinstance(found, Refusal):
                    bad = Deny(found.reason)
                    odd = Request(bad, "", NO_ROUTE, method, host, path, address, headers)
                    return self._refuse(odd, extensions, found.facts)
                route = found
            credential, carrier = self._credential(carried, path, optional=route.optional)
            if not route.enforce and isinstance(credential, Deny):
                route = self._reporting(route, headers, path)
            return Request(credential, carrier, route, method, host, path, address, headers)
        except DecodeError:
            return refused(BAD_REQUEST)

    def find_keys(self, request: Request) -> Strip | None:
        """Return the carriers to remove because they hold a key; an empty Strip if there is no key.

        None if the request is refused and a key stands where it cannot be removed.
        """
        if isinstance(request.credential, Deny):
            return self._reader.find_all(request.headers, request.path)
        return carrier_strip(request.carrier)

    def _refuse(self, request: Request, extensions: Any, rule: Facts | None = None) -> Request:
        """Return a refused request with a route of its own, so that `enforce` applies.

        `enforce` of context_extensions counts if it is `true` or `false`, otherwise that of `rule`,
        else the default. rule: None if it is unknown; then the default or any rule that enforces is
        enough. A key that cannot be removed makes any route enforced.
        """
        enforce = extensions.get("enforce", "")
        if rule is None:
            default = self._enforce or (self._rules is not None and self._rules.has_enforced)
        else:
            default = self._enforce if rule.enforce is None else rule.enforce
        route = Route(enforce=enforce == "true" if enforce in {"true", "false"} else default)
        if not route.enforce:
            route = self._reporting(route, request.headers, request.path)
        request.route = route
        return request

    def _reporting(self, route: Route, headers: Headers, path: str) -> Route:
        """Return the route, with `enforce` set if a key of the request could not be removed."""
        if self._reader.find_all(headers, path) is None:
            return replace(route, enforce=True)
        return route

    def _route(
        self,
        attributes: Any,
        extensions: Any,
        target: tuple[str, str],
        path: str,
        headers: Headers,
    ) -> Route | Refusal:
        """Return the requirements of the route, or a refusal.

        The refusal is BAD_REQUEST for invalid context_extensions, which are logged, else that of
        our own rules. `scopes` or `auth` in context_extensions override ROUTE_NOT_ALLOWED.
        """
        values, left = _NOTHING, len(extensions)
        if left == 1 and "scopes" in extensions:
            values = (extensions["scopes"], *_NOTHING[1:])
        elif left:
            values = tuple(extensions.get(name, "") for name in FACT_NAMES)
            if left > len(values) - values.count("") and not FACTS.issuperset(extensions):
                self._warn_of(frozenset(extensions) - FACTS)
                return BAD_ROUTE
        rule: Facts | Refusal = NO_FACTS
        if self._rules is not None:
            model = model_of(attributes.metadata_context) if self._reads_model else ""
            rule = required(self._rules, *target, path, headers, model=model)
        if not isinstance(rule, Facts):
            is_opened = rule.reason is Reason.ROUTE_NOT_ALLOWED and any(values[:2])
            if not is_opened:  # by scopes or auth
                return rule
            rule = NO_FACTS
        if rule.spending is not None:
            return self._spending_route(values, rule, rule.spending)
        case = values if rule is NO_FACTS else (*values, rule, rule.label)
        route = self._routes.get(case, _UNKNOWN)
        if route is _UNKNOWN:
            route = self._routes[case] = self._learn(values, rule)
        if self._rules is None and route is not None and not any(values[1:]):
            self._scoped[values[0]] = route
        return route or BAD_ROUTE

    def _spending_route(
        self, values: tuple[str, ...], rule: Facts, spending: Spending
    ) -> Route | Refusal:
        """Return the route of a rule that spends from budgets, at the prices in force.

        The refusal is MODEL_NOT_PRICED for a model without a price, or BAD_REQUEST as for others.
        """
        priced_by = self._pricing.case(spending, rule.model, rule.label)
        case = (*values, rule, rule.label, priced_by)
        route = self._routes.get(case, _UNKNOWN)
        if route is _UNKNOWN:
            priced = self._pricing.of(spending, rule.model, rule.label)
            if priced is None:
                return Refusal(Reason.MODEL_NOT_PRICED, rule)
            route = self._learn(values, rule)
            if route is not None:
                route = priced_route(route, priced, keeps_units=bool(values[_COST]))
            self._routes[case] = route
        return route or BAD_ROUTE

    def _learn(self, values: tuple[str, ...], rule: Facts) -> Route | None:
        """Return the route of context_extensions `values`, in the order of FACT_NAMES, and `rule`.

        Log a warning and return None if the values are invalid. Empty the cache of routes if it is
        full.
        """
        try:
            route = self._combine(facts(dict(zip(FACT_NAMES, values, strict=True))), rule)
        except BadInput as cause:
            log.warning("a route is refused, its context_extensions make no sense: %s", cause)
            route = None
        if len(self._routes) >= MAX_ROUTES:
            self._routes.clear()
            self._scoped.clear()
        return route

    def _warn_of(self, strange: frozenset[str]) -> None:
        """Log a set of unknown context_extensions names, unless it was logged before."""
        if strange in self._strange:
            return
        if len(self._strange) >= MAX_ROUTES:
            self._strange.clear()
        self._strange.add(strange)
        names, known = " ".join(map(fields.shown, sorted(strange))), " ".join(sorted(FACTS))
        log.warning(
            "a route is refused, its context_extensions say %s; there are %s", names[:200], known
        )

    def _combine(self, extensions: Facts, rule: Facts) -> Route:
        scopes = rule.scopes if extensions.scopes is None else extensions.scopes
        optional = rule.optional if extensions.optional is None else extensions.optional
        cost = rule.cost if extensions.cost is None else extensions.cost
        enforce = rule.enforce if extensions.enforce is None else extensions.enforce
        public = rule.public if extensions.public is None else extensions.public
        return Route(
            scopes=scopes or frozenset(),
            optional=optional or False,
            env=extensions.env or rule.env or self._env,
            cost=1 if cost is None else cost,
            enforce=self._enforce if enforce is None else enforce,
            label=rule.label,
            model=rule.model,
            public=public or False,
            assertion=rule.assertion,
            charge_once=rule.charge_once,
        )


def refused(refusal: Deny, headers: Headers = NO_HEADERS) -> Request:
    """Return a request with this refusal and nothing else but its headers.

    The refusal is enforced.
    """
    return Request(refusal, "", Route(), "", "", "", "", headers)
