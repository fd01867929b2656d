"""Decisions that are the same for every request, and the wait for others."""

from collections.abc import Awaitable
from typing import Final

from authz.core.decision import Allow, Decision, Deny, Reason

ANONYMOUS: Final = Allow(None)
MISSING: Final = Deny(Reason.MISSING_CREDENTIAL)
MALFORMED: Final = Deny(Reason.MALFORMED)
FORGED: Final = Deny(Reason.FORGED)
UNKNOWN: Final = Deny(Reason.UNKNOWN_KEY)
UNAVAILABLE: Final = Deny(Reason.UNAVAILABLE)
TOO_MANY: Final = Deny(Reason.TOO_MANY_FAILURES)


async def settled(decision: Decision | Awaitable[Decision]) -> Decision:
    """Return the decision, once it is made."""
    return decision if isinstance(decision, (Allow, Deny)) else await decision
