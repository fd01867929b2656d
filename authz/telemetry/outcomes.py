"""How a Check can end, as labels of a metric and of a span."""

from typing import Final

from authz.core.decision import Reason
from authz.telemetry.metric import Labels

ALLOWED: Final = {"outcome": "allowed", "reason": "none"}
# The caller could not prove who it is: what is answered with 401.
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
    Reason.NOT_YET_VALID,
    Reason.EXPIRED,
)


def refused(reason: Reason) -> Labels:
    """The labels of a refusal. What could not be decided is not a denial."""
    outcome = "unavailable" if reason is Reason.UNAVAILABLE else "denied"
    return {"outcome": outcome, "reason": reason.value}
