"""The token endpoint: the exchange of a key for a token (RFC 8693), the key set, and the metadata.

Errors have the form of RFC 6749 section 5.2.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.routing import Route

from authz.console.http_api import HttpApi
from authz.core import fields
from authz.core.errors import BadInput
from authz.core.http_exchange import HttpRequest, HttpResponse
from authz.core.tokens.signing_keys import SigningKey
from authz.flows.tokens.exchange import Ask, Exchange, ExchangeError, Refused
from authz.flows.tokens.issuing import Issued, Wish

TOKEN: Final = "/v1/token"  # noqa: S105  a path
KEY_SET: Final = "/.well-known/jwks.json"
METADATA: Final = "/.well-known/oauth-authorization-server"
MAX_FORM: Final = 16_384  # bytes
MAX_PARAMETERS: Final = 32
MAX_LIFETIME_DIGITS: Final = 6

GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105  a name
API_KEY: Final = "urn:authz:params:token-type:api-key"
CACHED: Final = {"cache-control": "public, max-age=300"}
_FORM: Final = "application/x-www-form-urlencoded"

_ERRORS: Final = {
    ExchangeError.BAD_SUBJECT: (400, "invalid_request", "the subject token is not accepted"),
    ExchangeError.BAD_SCOPE: (400, "invalid_scope", "the key does not have this scope"),
    ExchangeError.BAD_AUDIENCE: (400, "invalid_target", "no such audience"),
    ExchangeError.OVER_LIMIT: (429, "temporarily_unavailable", "a limit of the key is used up"),
    ExchangeError.UNAVAILABLE: (503, "temporarily_unavailable", "no tokens at the moment"),
}


class TokenEndpoint:
    """Answers the three paths. issuer: the URL that clients know.

    keys: returns the keys that verify now; None while they are unknown. note: gets the cause of
    each answer 503.
    """

    def __init__(
        self,
        exchange: Exchange,
        issuer: str,
        keys: Callable[[], Sequence[SigningKey] | None],
        note: Callable[[str], None],
    ) -> None:
        self._exchange = exchange
        self._issuer = issuer
        self._keys = keys
        self._note = note

    def routes(self) -> list[Route]:
        """Return the routes of the three paths."""
        return [
            Route(TOKEN, HttpApi(self.token, MAX_FORM)),
            Route(KEY_SET, HttpApi(self.key_set, 0)),
            Route(METADATA, HttpApi(self.metadata, 0)),
        ]

    async def token(self, request: HttpRequest) -> HttpResponse:
        """Return a token, or an error."""
        if request.method != "POST":
            return not_allowed("POST")
        try:
            ask = _ask(request)
        except BadInput as cause:
            return _error(HTTPStatus.BAD_REQUEST, cause.field, cause.problem)
        found = await self._exchange.exchange(ask)
        return _granted(found) if isinstance(found, Issued) else self._refused(found)

    async def key_set(self, request: HttpRequest) -> HttpResponse:
        """Return the public keys (RFC 7517). They may be kept for 5 minutes."""
        if request.method not in {"GET", "HEAD"}:
            return not_allowed("GET, HEAD")
        keys = self._keys()
        if keys is None:
            return _error(HTTPStatus.SERVICE_UNAVAILABLE, "temporarily_unavailable", "no keys now")
        return json_answer(HTTPStatus.OK, {"keys": [key.as_jwk() for key in keys]}, CACHED)

    async def metadata(self, request: HttpRequest) -> HttpResponse:
        """Return the metadata of the authorization server (RFC 8414)."""
        if request.method not in {"GET", "HEAD"}:
            return not_allowed("GET, HEAD")
        document = {
            "issuer": self._issuer,
            "token_endpoint": self._issuer + TOKEN,
            "jwks_uri": self._issuer + KEY_SET,
            "response_types_supported": [],
            "grant_types_supported": [GRANT],
            "token_endpoint_auth_methods_supported": ["none"],
        }
        return json_answer(HTTPStatus.OK, document, CACHED)

    def _refused(self, refused: Refused) -> HttpResponse:
        if refused.error is ExchangeError.UNAVAILABLE:
            self._note(refused.why)
        status, code, description = _ERRORS[refused.error]
        headers = {} if refused.retry_after is None else {"retry-after": str(refused.retry_after)}
        return _error(status, code, description, headers)


def _ask(request: HttpRequest) -> Ask:
    """Return the request for an exchange. Raises BadInput: field is the error code."""
    form = _form(request)
    if form.get("grant_type") != GRANT:
        code = "unsupported_grant_type" if form.get("grant_type") else "invalid_request"
        raise BadInput(code, f"grant_type has to be {GRANT}")
    if form.get("requested_token_type", JWT) not in {JWT, ACCESS_TOKEN}:
        raise BadInput("invalid_request", "requested_token_type: only tokens of the type jwt")
    if "actor_token" in form:
        raise BadInput("invalid_request", "actor_token: delegation is not supported")
    if "resource" in form:
        raise BadInput("invalid_target", "resource: name an audience instead")
    return Ask(_subject(request, form), _wish(form), request.header("origin"))


def _form(request: HttpRequest) -> Mapping[str, str]:
    """Return the parameters with a value, each of which stands once (RFC 6749 section 3.2)."""
    if request.header("content-type").partition(";")[0].strip().lower() != _FORM:
        raise BadInput("invalid_request", f"content-type has to be {_FORM}")
    if len(request.body) > MAX_FORM:
        raise BadInput("invalid_request", f"the form has more than {MAX_FORM} bytes")
    try:
        pairs = parse_qsl(
            request.body.decode("ascii"), max_num_fields=MAX_PARAMETERS, errors="strict"
        )
    except ValueError:
        raise BadInput("invalid_request", "not a form of at most 32 parameters") from None
    found = dict(pairs)
    if len(found) < len(pairs):
        raise BadInput("invalid_request", "a parameter stands twice")
    return found


def _subject(request: HttpRequest, form: Mapping[str, str]) -> str:
    """Return the text of the key, from the form or from a header, exactly once."""
    kind = form.get("subject_token_type", API_KEY)
    if kind not in {API_KEY, ACCESS_TOKEN}:
        raise BadInput("invalid_request", f"subject_token_type has to be {API_KEY}")
    if "subject_token" in form and "subject_token_type" not in form:
        raise BadInput("invalid_request", "subject_token_type is missing")
    given = [*request.all_of("x-api-key"), *map(_bearer, request.all_of("authorization"))]
    if "subject_token" in form:
        given.append(form["subject_token"])
    if len(given) != 1:
        raise BadInput("invalid_request", "exactly one subject token is needed")
    return given[0]


def _bearer(value: str) -> str:
    scheme, _, text = value.partition(" ")
    return text if scheme.lower() == "bearer" else ""


def _wish(form: Mapping[str, str]) -> Wish:
    scopes: frozenset[str] | None = None
    if "scope" in form:
        try:
            scopes = fields.scopes("scope", form["scope"].split(" "))
        except BadInput:
            raise BadInput("invalid_scope", "not a list of scopes") from None
    lifetime = form.get("lifetime", "")
    if not lifetime:
        return Wish(scopes, form.get("audience", ""))
    if not (lifetime.isascii() and lifetime.isdigit() and len(lifetime) <= MAX_LIFETIME_DIGITS):
        raise BadInput("invalid_request", "lifetime has to be a number of seconds")
    if not int(lifetime):
        raise BadInput("invalid_request", "lifetime has to be at least 1 s")
    return Wish(scopes, form.get("audience", ""), int(lifetime))


def _granted(issued: Issued) -> HttpResponse:
    document = {
        "access_token": issued.token,
        "issued_token_type": JWT,
        "token_type": "Bearer",
        "expires_in": issued.expires_in,
        "scope": " ".join(sorted(issued.claims.scopes)),
    }
    return json_answer(HTTPStatus.OK, document, {})


def not_allowed(methods: str) -> HttpResponse:
    """Return an error 405. methods: those that the path has."""
    problem = f"the method has to be {methods}"
    return _error(HTTPStatus.METHOD_NOT_ALLOWED, "invalid_request", problem, {"allow": methods})


def _error(
    status: int, code: str, description: str, headers: Mapping[str, str] | None = None
) -> HttpResponse:
    return json_answer(status, {"error": code, "error_description": description}, headers or {})


def json_answer(
    status: int, document: Mapping[str, Any], headers: Mapping[str, str]
) -> HttpResponse:
    """Return a document in JSON. Nobody may keep it, unless `headers` say so."""
    standard = {"content-type": "application/json", "cache-control": "no-store"}
    return HttpResponse(
        status,
        {**standard, "x-content-type-options": "nosniff", **headers},
        json.dumps(document).encode(),
    )
