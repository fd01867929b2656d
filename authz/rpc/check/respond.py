"""Write a Decision as CheckResponse bytes.

Rules:
1. Only `status.code` decides, and an empty CheckResponse is an ALLOW. Every response sets its code
   on purpose. A request that cannot be decided gets an error, never an allow.
2. Every allow sets or removes every identity header, and those that say `stale` and `would-deny`.
   So a client's own copy never survives. A refusal that is only reported has no assertion.
3. A response is a constant part, serialised once, and a suffix that varies. Protobuf merges
   messages that follow each other. So a suffix never holds field 1: a second status with code 0
   would turn a denial into an allow. It uses the arm of the oneof that the constant part uses, and
   repeats no key of the metadata.
4. No response shows text that a client wrote, except a request id of harmless characters.
5. Where a route does not enforce, a refusal is reported in an allow. Keys are stripped all the
   same. If a key cannot be stripped, the refusal stands.
"""

from collections.abc import Callable, Iterable
from typing import Final

from authz.core.bounded import BoundedDict
from authz.core.decision import Allow, Charged, Decision, Deny, OverLimit
from authz.core.limits.key_limits import KeyLimits, LimitResult
from authz.core.records import KeyRecord
from authz.core.request import IN_QUERY, Request, Route
from authz.core.tokens.presented import AcceptedToken
from authz.flows.packed_records import MAX_IN_USE
from authz.rpc.check.allow import BUDGET, OF_ASSERTION, OF_TOKEN, AllowWriter, token_part
from authz.rpc.check.assertion import AssertionHeaders
from authz.rpc.check.rate_limit_headers import RateLimitHeaders
from authz.rpc.check.reason_table import TABLE
from authz.rpc.check.refuse import Refuser
from authz.rpc.check.response_parts import AnyChargeIds, ChargeIds
from authz.rpc.check.strip import KeyFinder, Strip, carrier_strip, without_parameter
from authz.rpc.check.usage import RouteParts, SecretParts, secret_part
from authz.rpc.check.wire import OK, OK_HEADERS, field, header

# An allow with the record it was made from. Versions do not tell records apart: a store that was
# restored gives a version out again.
_Allowed = tuple[KeyRecord | None, bytes, SecretParts | None, Callable[[], int]]
# The kid or empty, the carrier, and the headers that are written apart.
_Name = tuple[str, str, frozenset[str]]
_NOTHING: Final[frozenset[str]] = frozenset()
_OF_BOTH: Final = OF_TOKEN | OF_ASSERTION
# What a response with limits was made from, its constant part, the count of charge ids, and the
# part behind the charge id.
_Repeated = tuple[LimitResult, KeyRecord, Route, str, bytes, Callable[[], int], bytes]
_Limited = tuple[
    KeyRecord, KeyLimits, bytes, RateLimitHeaders, SecretParts | None, Callable[[], int]
]


class Responder:
    """Writes the responses of one installation.

    header_prefix: of the identity headers. removed_headers: headers that hold nothing but a key;
    every allow removes them. query: the parameter that may hold the key, or empty. legacy_headers:
    also tell callers of limits in X-RateLimit headers. find_keys: finds the keys of a request whose
    refusal is only reported. max_templates: how many constant parts of each kind are remembered. As
    many as records that the cache holds unpacked: a record that is unpacked again is a new object.
    ids: of the responses; those of the process, so that a reload does not begin anew. assertions:
    writes them for routes that want one; without it there are none. budget_remaining: whether the
    backend is told what is left of budgets.
    """

    def __init__(
        self,
        *,
        header_prefix: str,
        removed_headers: Iterable[str],
        find_keys: KeyFinder,
        query: str = "",
        legacy_headers: bool = False,
        max_templates: int = MAX_IN_USE,
        ids: AnyChargeIds | None = None,
        assertions: AssertionHeaders | None = None,
        budget_remaining: bool = False,
    ) -> None:
        self._header_prefix = header_prefix
        self._budget_header = header_prefix + BUDGET if budget_remaining else ""
        self._write_allow = AllowWriter(header_prefix, removed_headers).write
        self._query = query
        self._find_keys = find_keys
        self._assertions = assertions
        self._legacy_headers = legacy_headers
        ids = ids or ChargeIds()
        self._ids_of = ids.of
        self._routes = RouteParts()
        self._known_route = self._routes.known
        self._refuse = Refuser(ids, max_templates, legacy_headers=legacy_headers).write
        self.refuse_uncounted = Refuser(ids.uncounted(), 1, legacy_headers=legacy_headers).write
        self._allows: BoundedDict[_Name, _Allowed] = BoundedDict(max_templates)
        self._stale_allows: BoundedDict[_Name, _Allowed] = BoundedDict(max_templates)
        self._charged: BoundedDict[tuple[_Name, bool], _Limited] = BoundedDict(max_templates)
        self._repeated: BoundedDict[tuple[str, int], _Repeated] = BoundedDict(max_templates)
        self._reported: BoundedDict[tuple[str, _Name, bool, Strip], _Allowed] = BoundedDict(
            max_templates
        )
        self._tokens: BoundedDict[str, tuple[KeyRecord, bytes]] = BoundedDict(max_templates)

    def write(self, decision: Decision, request: Request) -> bytes:
        """Return a serialised CheckResponse with a new charge id.

        A Deny on a route that does not enforce becomes an allow that reports it. It stays a refusal
        if a key cannot be stripped.
        """
        if type(decision) is Allow:
            entries = self._allows
        elif isinstance(decision, Deny):
            if request.route.enforce is False:
                return self._report(decision, request)
            return self._refuse(decision, request)
        elif isinstance(decision, Charged):
            return self._allow_charged(decision, request)
        else:
            entries = self._stale_allows
        key, carrier, token = decision.key, request.carrier, request.token
        apart, asserts = _NOTHING if token is None else OF_TOKEN, request.route.assertion
        if asserts:
            apart = self._apart(key, request)
        name = (key.kid if key else "", carrier, apart)
        entry = entries.get(name)
        if entry is None or entry[0] is not key:
            reason, strip = "ok" if key else "anonymous", carrier_strip(carrier)
            constant = self._write_allow(decision, reason, strip, apart=apart)
            ids = self._ids_of(key)
            entry = (key, constant + ids.head, SecretParts.of(key), ids.count)
            entries.put(name, entry)
        usage = self._known_route(id(request.route))
        if usage is None or key is None or entry[2] is not None or carrier is IN_QUERY:
            usage = self._usage(key, entry[2], request)
        if token is not None and key is not None:
            usage += self._token(key, token)
        if asserts and key is not None:
            usage += self._assertion(key, request)
        # Formatted apart: CPython formats more than 512 bytes, as most allows have, more slowly.
        return entry[1] + b"%012x%b" % (entry[3](), usage)

    def _apart(self, key: KeyRecord | None, request: Request) -> frozenset[str]:
        """Return the headers of an allow of `key` that are written apart."""
        has_token = request.token is not None
        if key is not None and self._assertions is not None and request.route.assertion:
            return _OF_BOTH if has_token else OF_ASSERTION
        return OF_TOKEN if has_token else _NOTHING

    def _assertion(self, key: KeyRecord, request: Request) -> bytes:
        """Return the serialised header for a route that asks for an assertion."""
        if self._assertions is None:
            return b""
        return self._assertions.write(key, request.token, request.route.assertion)

    def _token(self, key: KeyRecord, token: AcceptedToken) -> bytes:
        """Return the serialised headers of a token. Remembers them."""
        known = self._tokens.get(token.id)
        if known is None or known[0] is not key:
            known = (key, token_part(self._header_prefix, key, token))
            self._tokens.put(token.id, known)
        return known[1]

    def _usage(
        self,
        key: KeyRecord | None,
        secrets: SecretParts | None,
        request: Request,
        *,
        is_repeat: bool = False,
    ) -> bytes:
        """Return the serialised metadata of the route and, with `secrets`, of the secret used.

        If the key stood in the query, also the header `:path` without it.
        """
        if key is None:
            return self._routes.label(request.route)
        routes = self._routes
        found = (routes.repeated if is_repeat else routes.charged)(request.route)
        if secrets:
            found += secrets.find(request)
        return found + self._path(request) if request.carrier is IN_QUERY else found

    def _path(self, request: Request) -> bytes:
        """Return bytes that set the header `:path` to the request's path without the parameter.

        Envoy can remove a query parameter by itself, but then it sorts and rewrites the others.
        """
        left = without_parameter(request.path, self._query)
        return field(OK, field(OK_HEADERS, header(":path", left)))

    def _allow_charged(self, decision: Charged, request: Request) -> bytes:
        """Return an allow with limits.

        Requests that pass on one lease share a result. So the last response of each key and route
        is remembered, all but its charge id, with what it was made from.
        """
        key, result = decision.key, decision.limit_result
        carrier, route = request.carrier, request.route
        place = (key.kid, id(route))
        last = self._repeated.get(place)
        if (
            last is not None
            and last[0] is result
            and last[1] is key
            and last[2] is route
            and last[3] == carrier
            and request.token is None
            and type(decision) is Charged
        ):
            return last[4] + b"%012x%b" % (last[5](), last[6])
        apart = self._apart(key, request)
        name = ((key.kid, carrier, apart), decision.stale)
        entry = self._charged.get(name)
        if (
            entry is None
            or entry[0] is not key
            or entry[1] is not result.key_limits
            or entry[3].windows != result.windows
        ):
            limits = self._limits(result)
            strip = carrier_strip(carrier)
            constant = self._write_allow(decision, "ok", strip, apart=apart, limits=limits)
            ids = self._ids_of(key)
            constant += ids.head
            entry = (key, result.key_limits, constant, limits, SecretParts.of(key), ids.count)
            self._charged.put(name, entry)
        usage = self._usage(key, entry[4], request, is_repeat=result.is_repeat)
        if request.token is not None:
            usage += self._token(key, request.token)
        if route.assertion:
            usage += self._assertion(key, request)
        usage += entry[3].of_allowed(result)
        is_fixed = entry[4] is None and carrier is not IN_QUERY and not route.assertion
        if is_fixed and request.token is None and type(decision) is Charged:
            self._repeated.put(place, (result, key, route, carrier, entry[2], entry[5], usage))
        return entry[2] + b"%012x%b" % (entry[5](), usage)

    def _limits(self, result: LimitResult) -> RateLimitHeaders:
        return RateLimitHeaders(
            result.key_limits,
            result.windows,
            legacy=self._legacy_headers,
            budget_header=self._budget_header,
        )

    def _report(self, decision: Deny, request: Request) -> bytes:
        """Return an allow that reports the refusal and strips the keys that `find_keys` names.

        Return the refusal itself if `find_keys` returns None.
        """
        strip = self._find_keys(request)
        if strip is None:
            return self._refuse(decision, request)
        path = self._path(request) if strip.query else b""
        if isinstance(decision, OverLimit):
            usage = self._routes.label(request.route) + secret_part(decision.key, request) + path
            return self._report_over_limit(decision, strip, request.token) + usage
        key, reason = decision.key, decision.reason
        token = request.token if key else None  # without a proven key its token says nothing
        apart = OF_TOKEN if token else _NOTHING
        name = (reason, (key.kid if key else "", "", apart), decision.stale, strip)
        entry = self._reported.get(name)
        if entry is None or entry[0] is not key:
            code = TABLE[reason].code
            constant = self._write_allow(decision, reason, strip, apart=apart, would_deny=code)
            ids = self._ids_of(key)
            entry = (key, constant + ids.head, SecretParts.of(key), ids.count)
            self._reported.put(name, entry)
        usage = self._routes.label(request.route) + path
        if entry[2]:
            usage += entry[2].find(request)
        if token is not None and key is not None:
            usage += self._token(key, token)
        return entry[1] + b"%012x%b" % (entry[3](), usage)

    def _report_over_limit(
        self, decision: OverLimit, strip: Strip, token: AcceptedToken | None
    ) -> bytes:
        reason, result = decision.reason, decision.limit_result
        limits = self._limits(result)
        code = TABLE[reason].code
        constant = self._write_allow(
            decision,
            reason,
            strip,
            apart=OF_TOKEN if token else _NOTHING,
            would_deny=code,
            limits=limits,
        )
        ids = self._ids_of(decision.key)
        response = constant + ids.head + b"%012x" % ids.count() + limits.of_allowed(result)
        return response + self._token(decision.key, token) if token else response
