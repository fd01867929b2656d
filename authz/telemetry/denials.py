"""Log lines about refusals: a limited number of lines, and a count of the rest.

A flood of one reason hides no other reason. After each summary, the first refusal of each reason
gets a line at once, on credit from later lines.
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
    """Write at most `rate` lines a second, and every SUMMARY_SECONDS a count of the others.

    In addition there may be one line for each reason, and the lines of one second after a pause.
    """

    def __init__(self, rate: float, monotonic: Callable[[], float]) -> None:
        bucket = TokenBucket(rate)
        self._take, self._borrow = bucket.take, bucket.borrow
        self._monotonic = monotonic
        self._left_out: Counter[Reason] = Counter()
        self._written: set[Reason] = set()  # since the last summary
        self._summarised = 0

    def take_line(self, decision: Deny) -> bool:
        """Take a line from the budget and return True; or count the refusal and return False."""
        reason = decision.reason
        if self._take(self._monotonic()) or (
            reason not in self._written and self._borrow(len(Reason))
        ):
            self._written.add(reason)
            return True
        self._left_out[reason] += 1
        return False

    @property
    def left_out(self) -> int:
        """Return the number of refusals without a line since the start."""
        return self._summarised + self._left_out.total()

    def write(self, decision: Deny, kid: str, trace: Context | None) -> None:
        """Write the line of one refusal. Its only text from a client is the kid: 16 characters."""
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
        """Write a summary every SUMMARY_SECONDS, and once more when cancelled."""
        try:
            while True:
                await asyncio.sleep(SUMMARY_SECONDS)
                self.summarise()
        finally:
            self.summarise()

    def summarise(self) -> None:
        """Write the number of refusals without a line, by reason, if there are any."""
        left_out, self._left_out = self._left_out, Counter()
        self._written.clear()
        self._summarised += left_out.total()
        if left_out:
            counts = ", ".join(f"{reason.value} {n}" for reason, n in left_out.most_common())
            log.info(
                "refused, without a line of their own: %s",
                counts,
                extra={"left_out": left_out.total()},
            )
