"""Outcomes of a Check, as labels of metrics and spans."""

from typing import Final

from authz.core.decision import Reason
from authz.telemetry.metric import Labels

ALLOWED: Final = {"outcome": "allowed", "reason": "none"}
# Reasons that are answered with 401, or with 429 in its place.
AUTHENTICATION: Final = (
    Reason.MISSING_CREDENTIAL,
    Reason.UNRECOGNIZED_CREDENTIAL,
    Reason.AMBIGUOUS_CREDENTIAL,
    Reason.MISPLACED_CREDENTIAL,
    Reason.MALFORMED,
    Reason.FORGED,
    Reason.UNKNOWN_KEY,
    Reason.WRONG_SECRET,
    Reason.SECRET_RETIRED,
    Reason.REVOKED,
    Reason.DISABLED,
    Reason.CANARY,
    Reason.NOT_YET_VALID,
    Reason.EXPIRED,
    Reason.TOKEN_EXPIRED,
    Reason.WRONG_AUDIENCE,
    Reason.TOO_MANY_FAILURES,
)


def refused(reason: Reason) -> Labels:
    """Return the labels of a refusal.

    The outcome is `unavailable` for UNAVAILABLE, else `denied`.
    """
    outcome = "unavailable" if reason is Reason.UNAVAILABLE else "denied"
    return {"outcome": outcome, "reason": reason.value}


def reported(reason: Reason) -> Labels:
    """Return the labels of a request that is allowed only because its route does not enforce.

    The outcome is `allowed`; the reason is that of the refusal.
    """
    return {"outcome": "allowed", "reason": reason.value}
