"""Write the constant part of a CheckResponse that allows."""

from collections.abc import Iterable
from typing import Final

from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

from authz.core.decision import Decision
from authz.core.records import KeyRecord
from authz.core.tokens.presented import AcceptedToken
from authz.core.tokens.rights import effective
from authz.rpc.check.rate_limit_headers import RateLimitHeaders
from authz.rpc.check.response_parts import decision_metadata, header_option
from authz.rpc.check.strip import Strip
from authz.rpc.check.wire import OK, OK_HEADERS, OK_REMOVED, field, header

STALE, WOULD_DENY = "stale", "would-deny"
SCOPES, TOKEN_ID, ASSERTION = "scopes", "token-id", "assertion"
BUDGET: Final = "budget-remaining"
OF_TOKEN: Final = frozenset({SCOPES, TOKEN_ID})  # written by `token_part`
OF_ASSERTION: Final = frozenset({ASSERTION})  # written by AssertionHeaders
OF_BUDGET: Final = frozenset({BUDGET})  # written by RateLimitHeaders


def token_part(header_prefix: str, key: KeyRecord, token: AcceptedToken) -> bytes:
    """Return the serialised headers of one token: its id, and the scopes that key and token hold.

    Without such a scope the header is removed from the request.
    """
    name, scopes = header_prefix + SCOPES, effective(key.scopes, token.scopes)
    shown = field(OK_HEADERS, header(header_prefix + TOKEN_ID, token.id))
    if not scopes:
        return field(OK, shown + field(OK_REMOVED, name.encode()))
    return field(OK, shown + field(OK_HEADERS, header(name, " ".join(sorted(scopes)))))


class AllowWriter:
    """Writes the constant part of allows.

    header_prefix: of the identity headers. removed_headers: headers that hold nothing but a key;
    every allow removes them.
    """

    def __init__(self, header_prefix: str, removed_headers: Iterable[str]) -> None:
        self._header_prefix = header_prefix
        self._removed = tuple(removed_headers)

    def write(
        self,
        decision: Decision,
        reason: str,
        strip: Strip,
        *,
        apart: frozenset[str] = frozenset(),
        would_deny: str = "",
        limits: RateLimitHeaders | None = None,
    ) -> bytes:
        """Return the serialised message, without the id of the response.

        It sets the identity headers, `stale` and `would-deny`; those without a value are removed
        from the request. reason: for the metadata. strip: its `headers` are removed as well; its
        `query` has no effect here. apart: headers that are left out because others write them.
        would_deny: the code of a refusal that is only reported, or empty. limits: adds the headers
        and metadata that are the same in every response.
        """
        key = decision.key
        response = CheckResponse()
        response.status.code = 0
        ok = response.ok_response
        headers = _identity(key)
        headers |= {STALE: "true" if decision.stale else "", WOULD_DENY: would_deny}
        if limits and limits.has_budget_header:
            apart |= OF_BUDGET
        for name in apart:
            del headers[name]
        for name, value in headers.items():
            if value:
                ok.headers.append(header_option(self._header_prefix + name, value))
        unset = [self._header_prefix + name for name, value in headers.items() if not value]
        ok.headers_to_remove.extend(dict.fromkeys([*unset, *self._removed, *strip.headers]))
        response.dynamic_metadata.update(decision_metadata(reason, decision))
        if would_deny:
            response.dynamic_metadata.update({"report_only": True})
        if limits:
            options = (header_option(*pair) for pair in limits.headers.items())
            ok.response_headers_to_add.extend(options)
            response.dynamic_metadata.update(limits.metadata)
        return bytes(response.SerializeToString())


def _identity(key: KeyRecord | None) -> dict[str, str]:
    """Return every identity header by its name after the prefix. All are empty without a key."""
    return {
        "key-id": key.kid if key else "",
        "client-id": key.client_id if key else "",
        "project-id": key.project_id if key else "",
        "tenant-id": key.tenant_id if key else "",
        SCOPES: " ".join(sorted(key.scopes)) if key else "",
        "env": key.env if key else "",
        "plan": key.plan if key else "",
        TOKEN_ID: "",
        ASSERTION: "",
        BUDGET: "",
    }
