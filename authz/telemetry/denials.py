"""Log lines about refusals: some of them whole, of the rest how many there were.

A flood of one kind hides no other: after each summary the first of each reason has a line at once,
and what comes after it waits for longer.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

from authz.core.decision import Deny, Reason
from authz.core.token_bucket import TokenBucket
from authz.telemetry.tracecontext import Context

log = logging.getLogger("authz.denied")

SUMMARY_SECONDS: Final = 10.0


class Denials:
    """Writes `rate` lines a second, and one each SUMMARY_SECONDS of what was left out.

    In any stretch of time at most `rate` times its length, and one for each reason, and a second's
    worth after a rest.
    """

    def __init__(self, rate: float, monotonic: Callable[[], float]) -> None:
        bucket = TokenBucket(rate)
        self._take, self._borrow = bucket.take, bucket.borrow
        self._monotonic = monotonic
        self._left_out: Counter[Reason] = Counter()
        self._told: set[Reason] = set()  # since the last summary
        self._summarised = 0

    def take_line(self, decision: Deny) -> bool:
        """May this one have a line? What has none is counted."""
        reason = decision.reason
        if self._take(self._monotonic()) or (
            reason not in self._told and self._borrow(len(Reason))
        ):
            self._told.add(reason)
            return True
        self._left_out[reason] += 1
        return False

    @property
    def left_out(self) -> int:
        """How many had no line, in all."""
        return self._summarised + self._left_out.total()

    def tell(self, decision: Deny, kid: str, trace: Context | None) -> None:
        """Write the line of one. Nothing in it is a client's word but for a kid's 16 characters."""
        log.info(
            "%s: %s",
            "undecided" if decision.reason is Reason.UNAVAILABLE else "denied",
            decision.reason.value,
            extra={
                "reason": decision.reason.value,
                "kid": kid,
                "client_id": decision.key.client_id if decision.key else "",
                "trace_id": trace.trace_id if trace else "",
                "span_id": trace.span_id if trace else "",
            },
        )

    async def run(self) -> None:
        """Summarise from time to time, until cancelled, and then once more."""
        try:
            while True:
                await asyncio.sleep(SUMMARY_SECONDS)
                self.summarise()
        finally:
            self.summarise()

    def summarise(self) -> None:
        """Say what was left out, if anything was."""
        left_out, self._left_out = self._left_out, Counter()
        self._told.clear()
        self._summarised += left_out.total()
        if left_out:
            counts = ", ".join(f"{reason.value} {n}" for reason, n in left_out.most_common())
            log.info(
                "refused, without a line of their own: %s",
                counts,
                extra={"left_out": left_out.total()},
            )
