"""Decision -> CheckResponse bytes. What a caller sees is made here, from the table of Reasons.

Rules:
1. Only `status.code` decides, and an empty CheckResponse is an ALLOW. Every answer is built with
   its code set on purpose; what cannot be decided is an error answer, never an allow.
2. Every allow sets or removes every identity header, and the one that says it is stale, so that a
   client's own copy never survives.
3. An answer is a base that repeats, serialised once, and a suffix that varies. Protobuf messages
   that follow each other merge, so a suffix never holds field 1 (a second status with code 0 turns
   a denial into an allow), uses the base's arm of the oneof, and repeats no metadata key.
4. Nothing that a client wrote is shown, but a request id of harmless characters.
"""

from collections.abc import Iterable

from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

from authz.core.decision import Allow, Charged, Decision, Deny
from authz.core.limits.key_limits import KeyLimits
from authz.core.records import KeyRecord
from authz.core.request import IN_QUERY, Request
from authz.rpc.check.rate_limit_headers import RateLimitHeaders
from authz.rpc.check.refuse import Refuser
from authz.rpc.check.response_parts import Charges, facts, keep, option


class Responder:
    """Writes answers of one installation.

    header_prefix: of the identity headers. removed_headers: those that carry nothing but a key,
    removed on every allow. query: a parameter that may hold the key, or empty. legacy_headers: tell
    of limits in X-RateLimit headers, too.
    """

    def __init__(
        self,
        *,
        header_prefix: str,
        removed_headers: Iterable[str],
        query: str = "",
        legacy_headers: bool = False,
    ) -> None:
        self._header_prefix = header_prefix
        self._removed = tuple(removed_headers)
        self._query = query
        self._legacy_headers = legacy_headers
        charges = Charges()
        self._charge, self._count = charges.head, charges.count
        self._refuse = Refuser(charges, legacy_headers=legacy_headers).write
        # Each base with the record it was made from. Not with its version: a store that was
        # restored gives a version out again.
        self._allows: dict[tuple[str, str], tuple[KeyRecord | None, bytes]] = {}
        self._stale_allows: dict[tuple[str, str], tuple[KeyRecord | None, bytes]] = {}
        self._charged: dict[
            tuple[str, str, bool], tuple[KeyRecord, KeyLimits, bytes, RateLimitHeaders]
        ] = {}

    def write(self, decision: Decision, request: Request) -> bytes:
        """A serialised CheckResponse."""
        if type(decision) is Allow:
            bases = self._allows
        elif isinstance(decision, Deny):
            return self._refuse(decision, request)
        elif isinstance(decision, Charged):
            return self._allow_charged(decision, request.carrier)
        else:
            bases = self._stale_allows
        key, carrier = decision.key, request.carrier
        name = (key.kid if key else "", carrier)
        kept = bases.get(name)
        if kept is None or kept[0] is not key:
            base = self._allow_base(decision, carrier) + self._charge
            kept = keep(bases, name, (key, base))
        return kept[1] + b"%012x" % self._count()

    def _allow_charged(self, decision: Charged, carrier: str) -> bytes:
        key, spent = decision.key, decision.limit_result
        name = (key.kid, carrier, decision.stale)
        kept = self._charged.get(name)
        if kept is None or kept[0] is not key or kept[1] is not spent.key_limits:
            telling = RateLimitHeaders(spent.key_limits, legacy=self._legacy_headers)
            base = self._allow_base(decision, carrier, telling) + self._charge
            kept = keep(self._charged, name, (key, spent.key_limits, base, telling))
        return kept[2] + b"%012x" % self._count() + kept[3].of_allowed(spent)

    def _allow_base(
        self, decision: Allow, carrier: str, telling: RateLimitHeaders | None = None
    ) -> bytes:
        key = decision.key
        answer = CheckResponse()
        answer.status.code = 0
        ok = answer.ok_response
        identity = _identity(key) | {"stale": "true" if decision.stale else ""}
        for name, value in identity.items():
            if value:
                ok.headers.append(option(self._header_prefix + name, value))
        unset = [self._header_prefix + name for name, value in identity.items() if not value]
        held = [carrier] if carrier and carrier != IN_QUERY else []
        ok.headers_to_remove.extend(dict.fromkeys([*unset, *self._removed, *held]))
        if carrier == IN_QUERY:  # Envoy writes the whole query anew, so only if there was a key
            ok.query_parameters_to_remove.append(self._query)
        answer.dynamic_metadata.update(facts("ok" if key else "anonymous", decision))
        if telling:
            ok.response_headers_to_add.extend(option(*pair) for pair in telling.headers.items())
            answer.dynamic_metadata.update(telling.metadata)
        return bytes(answer.SerializeToString())


def _identity(key: KeyRecord | None) -> dict[str, str]:
    """Every identity header, by its name after the prefix; an empty one is removed."""
    return {
        "key-id": key.kid if key else "",
        "client-id": key.client_id if key else "",
        "project-id": key.project_id if key else "",
        "tenant-id": key.tenant_id if key else "",
        "scopes": " ".join(sorted(key.scopes)) if key else "",
        "env": key.env if key else "",
        "plan": key.plan if key else "",
    }
