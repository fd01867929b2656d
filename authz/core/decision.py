"""Decision = Allow | Deny. A refusal is a value.

During a store outage, a decision by a stale record is a StaleAllow or a StaleDeny. The decision on
a request that took from limits is a Charged; if the limits refused it, an OverLimit. These are
classes of their own, so that a decision on a cache hit costs nothing more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

from authz.core.limits.key_limits import LimitResult
from authz.core.records import KeyRecord


class Reason(StrEnum):
    """The reasons of a refusal. Logs and metrics use these words; callers see fewer."""

    BAD_REQUEST = "bad_request"
    AMBIGUOUS_PATH = "ambiguous_path"
    MISSING_CREDENTIAL = "missing_credential"
    UNRECOGNIZED_CREDENTIAL = "unrecognized_credential"
    AMBIGUOUS_CREDENTIAL = "ambiguous_credential"
    MISPLACED_CREDENTIAL = "misplaced_credential"
    MALFORMED = "malformed"
    FORGED = "forged"
    UNKNOWN_KEY = "unknown_key"
    WRONG_SECRET = "wrong_secret"  # noqa: S105  a reason, not a secret
    SECRET_RETIRED = "secret_retired"  # noqa: S105  a reason, not a secret
    REVOKED = "revoked"
    DISABLED = "disabled"
    CANARY = "canary"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    TOKEN_EXPIRED = "token_expired"  # noqa: S105  a reason, not a secret
    WRONG_AUDIENCE = "wrong_audience"
    ROUTE_NOT_ALLOWED = "route_not_allowed"
    MODEL_NOT_PRICED = "model_not_priced"
    WRONG_ENVIRONMENT = "wrong_environment"
    PUBLIC_KEY_NOT_ALLOWED = "public_key_not_allowed"
    ADDRESS_NOT_ALLOWED = "address_not_allowed"
    HOST_NOT_ALLOWED = "host_not_allowed"
    ORIGIN_NOT_ALLOWED = "origin_not_allowed"
    INSUFFICIENT_SCOPE = "insufficient_scope"
    RATE_LIMITED = "rate_limited"
    QUOTA_EXCEEDED = "quota_exceeded"
    TOO_MANY_FAILURES = "too_many_failures"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True, init=False)
class Allow:
    """Allow the request as this key, or as anonymous if `key` is None."""

    key: KeyRecord | None

    stale: ClassVar[bool] = False

    def __init__(self, key: KeyRecord | None) -> None:
        _set_key(self, key)


# That of the slot itself. The method that a frozen dataclass gets takes twice as long for each hit.
_set_key: Final[Callable[[Allow, KeyRecord | None], None]] = Allow.__dict__["key"].__set__


@dataclass(frozen=True, slots=True)
class Deny:
    """Refuse the request. `key` is set only if the caller has proven that it holds the key."""

    reason: Reason
    key: KeyRecord | None = None

    stale: ClassVar[bool] = False


class StaleAllow(Allow):
    """Allow the request by a stale record, while the store is unreachable."""

    __slots__ = ()

    stale: ClassVar[bool] = True


class StaleDeny(Deny):
    """Refuse the request by a stale record, while the store is unreachable."""

    __slots__ = ()

    stale: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Charged(Allow):
    """Allow the request: every enforced limit had room for it."""

    key: KeyRecord
    limit_result: LimitResult


class StaleCharged(Charged):
    """A Charged by a stale record."""

    __slots__ = ()

    stale: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class OverLimit(Deny):
    """Refuse the request, RATE_LIMITED or QUOTA_EXCEEDED: an enforced limit had no room."""

    key: KeyRecord
    limit_result: LimitResult


class StaleOverLimit(OverLimit):
    """An OverLimit by a stale record."""

    __slots__ = ()

    stale: ClassVar[bool] = True


Decision = Allow | Deny


def decide_by_limits(key: KeyRecord, result: LimitResult, *, stale: bool = False) -> Decision:
    """Return the decision on an otherwise allowed request, by the result of its limits.

    Charged if every enforced limit had room. Otherwise OverLimit: QUOTA_EXCEEDED if a calendar
    quota or credits refused, else RATE_LIMITED. If `stale`, their Stale classes.
    """
    if result.allowed:
        return (StaleCharged if stale else Charged)(key, result)
    reason = Reason.QUOTA_EXCEEDED if result.exceeds_quota else Reason.RATE_LIMITED
    return (StaleOverLimit if stale else OverLimit)(reason, key, result)
