"""Decision = Allow | Deny. A refusal is a value.

A decision made in an outage of the store, on what was known before it, is a StaleAllow or a
StaleDeny. They are classes of their own so that a decision on a cache hit pays nothing for them.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from authz.core.records import KeyRecord


class Reason(StrEnum):
    """Why a request is not let through. Logs and metrics use these words; callers see fewer."""

    BAD_REQUEST = "bad_request"
    AMBIGUOUS_PATH = "ambiguous_path"
    MISSING_CREDENTIAL = "missing_credential"
    AMBIGUOUS_CREDENTIAL = "ambiguous_credential"
    MALFORMED = "malformed"
    FORGED = "forged"
    UNKNOWN_KEY = "unknown_key"
    WRONG_SECRET = "wrong_secret"  # noqa: S105  a reason, not a secret
    SECRET_RETIRED = "secret_retired"  # noqa: S105  a reason, not a secret
    REVOKED = "revoked"
    DISABLED = "disabled"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    ROUTE_NOT_ALLOWED = "route_not_allowed"
    WRONG_ENVIRONMENT = "wrong_environment"
    ADDRESS_NOT_ALLOWED = "address_not_allowed"
    HOST_NOT_ALLOWED = "host_not_allowed"
    ORIGIN_NOT_ALLOWED = "origin_not_allowed"
    INSUFFICIENT_SCOPE = "insufficient_scope"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Allow:
    """Let it through as this key, or anonymously."""

    key: KeyRecord | None

    stale: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Deny:
    """Refuse. `key` is set only once the caller has proven that it holds the key."""

    reason: Reason
    key: KeyRecord | None = None

    stale: ClassVar[bool] = False


class StaleAllow(Allow):
    """Let it through, though the store cannot be asked whether that still holds."""

    __slots__ = ()

    stale: ClassVar[bool] = True


class StaleDeny(Deny):
    """Refuse, though the store cannot be asked whether that still holds."""

    __slots__ = ()

    stale: ClassVar[bool] = True


Decision = Allow | Deny
