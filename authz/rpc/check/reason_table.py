"""The HTTP status, code and message that a caller gets for each Reason."""

from dataclasses import dataclass
from typing import Final

from authz.core.decision import Reason

_GRPC_CODES: Final = {400: 3, 401: 16, 403: 7, 429: 8, 503: 14}
# The words of Anthropic's API, which the SDKs of such APIs know.
_ERROR_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    503: "api_error",
}


@dataclass(frozen=True, slots=True)
class Row:
    """The response for a Reason. status: the HTTP status, one of 400, 401, 403, 429 and 503."""

    status: int
    code: str
    title: str
    detail: str

    @property
    def grpc_code(self) -> int:
        """The google.rpc.Code that means the same as the status."""
        return _GRPC_CODES[self.status]

    @property
    def error_type(self) -> str:
        """The `type` of the `error` member that SDKs of AI APIs read."""
        return _ERROR_TYPES[self.status]


_INVALID = Row(401, "invalid_api_key", "Invalid API key", "The API key is not valid.")

# A caller that has not proven its secret must not learn what is wrong: those rows are one.
TABLE: Final[dict[Reason, Row]] = {
    Reason.BAD_REQUEST: Row(
        400, "bad_request", "Bad request", "The request could not be understood."
    ),
    Reason.AMBIGUOUS_PATH: Row(
        400, "ambiguous_path", "Ambiguous path", "The path can be read in more than one way."
    ),
    Reason.MISSING_CREDENTIAL: Row(
        401, "missing_api_key", "API key required", "The request carries no API key."
    ),
    Reason.UNRECOGNIZED_CREDENTIAL: Row(
        401,
        "missing_api_key",
        "API key required",
        "The request carries a token that is not an API key of this service.",
    ),
    Reason.AMBIGUOUS_CREDENTIAL: Row(
        401,
        "ambiguous_api_key",
        "Ambiguous API key",
        "The request carries more than one API key; send exactly one.",
    ),
    Reason.MISPLACED_CREDENTIAL: Row(
        401,
        "invalid_api_key",
        "Invalid API key",
        "The API key is not in a form that is accepted; send it alone, as documented.",
    ),
    Reason.MALFORMED: _INVALID,
    Reason.FORGED: _INVALID,
    Reason.UNKNOWN_KEY: _INVALID,
    Reason.WRONG_SECRET: _INVALID,
    Reason.SECRET_RETIRED: Row(
        401,
        "api_key_rotated",
        "API key rotated",
        "This secret was rotated out; use the newer one of the same key.",
    ),
    Reason.CANARY: _INVALID,
    Reason.REVOKED: Row(401, "api_key_revoked", "API key revoked", "This API key was revoked."),
    Reason.DISABLED: Row(401, "api_key_disabled", "API key disabled", "This API key is disabled."),
    Reason.NOT_YET_VALID: Row(
        401, "api_key_not_yet_valid", "API key not yet valid", "This API key is not valid yet."
    ),
    Reason.EXPIRED: Row(401, "api_key_expired", "API key expired", "This API key has expired."),
    Reason.TOKEN_EXPIRED: Row(
        401, "token_expired", "Token expired", "This token has expired; exchange the key again."
    ),
    Reason.WRONG_AUDIENCE: Row(
        401, "wrong_audience", "Wrong audience", "This token is for another audience."
    ),
    Reason.ROUTE_NOT_ALLOWED: Row(
        403, "route_not_allowed", "Route not allowed", "No API key opens this route."
    ),
    Reason.MODEL_NOT_PRICED: Row(
        403, "model_not_allowed", "Model not allowed", "This model is not offered here."
    ),
    Reason.WRONG_ENVIRONMENT: Row(
        403,
        "wrong_environment",
        "Wrong environment",
        "This API key belongs to another environment.",
    ),
    Reason.PUBLIC_KEY_NOT_ALLOWED: Row(
        403,
        "public_key_not_allowed",
        "Publishable key not allowed",
        "A publishable API key may not be used on this route.",
    ),
    Reason.ADDRESS_NOT_ALLOWED: Row(
        403,
        "address_not_allowed",
        "Address not allowed",
        "This API key may not be used from this address.",
    ),
    Reason.HOST_NOT_ALLOWED: Row(
        403,
        "host_not_allowed",
        "Host not allowed",
        "This API key may not be used for this host.",
    ),
    Reason.ORIGIN_NOT_ALLOWED: Row(
        403,
        "origin_not_allowed",
        "Origin not allowed",
        "This API key may not be used from this origin.",
    ),
    Reason.INSUFFICIENT_SCOPE: Row(
        403, "insufficient_scope", "Insufficient scope", "This API key lacks a required scope."
    ),
    Reason.RATE_LIMITED: Row(
        429, "rate_limited", "Too many requests", "A rate limit of this API key is used up."
    ),
    Reason.QUOTA_EXCEEDED: Row(
        429, "quota_exceeded", "Quota exceeded", "A quota of this API key is used up."
    ),
    Reason.TOO_MANY_FAILURES: Row(
        429,
        "too_many_failures",
        "Too many failures",
        "Too many requests without a valid API key came from this address.",
    ),
    Reason.UNAVAILABLE: Row(
        503,
        "unavailable",
        "Authorization unavailable",
        "Authorization is not possible at the moment; try again.",
    ),
}
