"""Log lines about refusals: some get a line, the others are counted.

A flood of one reason hides no other reason. After each summary the first refusal of each reason
gets a line at once, on credit, and later refusals wait longer.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

from authz.core.decision import Deny, Reason
from authz.core.ports import ResponseIds
from authz.core.request import Request
from authz.core.token_bucket import TokenBucket
from authz.telemetry import client_text
from authz.telemetry.tracecontext import Context

log = logging.getLogger("authz.denied")

SUMMARY_SECONDS: Final = 10.0


class Denials:
    """Grants and writes log lines about refusals, and logs how many got none.

    `take_line` grants at most `rate` lines a second in any period, plus one line for each reason,
    plus the lines of one second after a pause. rate: above 0. monotonic: the clock, in seconds.
    """

    def __init__(self, rate: float, monotonic: Callable[[], float]) -> None:
        bucket = TokenBucket(rate)
        self._take, self._borrow = bucket.take, bucket.borrow
        self._monotonic = monotonic
        self._without_line: Counter[Reason] = Counter()
        self._with_line: set[Reason] = set()  # since the last summary
        self._summarised = 0

    def take_line(self, decision: Deny) -> bool:
        """Take a line for this refusal and return True; if none is left, count the refusal.

        The first refusal of a reason since the last summary may take a line on credit.
        TOO_MANY_FAILURES never gets one. Nothing is written.
        """
        reason = decision.reason
        if reason is Reason.TOO_MANY_FAILURES:  # a client that floods gets none
            self._without_line[reason] += 1
            return False
        if self._take(self._monotonic()) or (
            reason not in self._with_line and self._borrow(len(Reason))
        ):
            self._with_line.add(reason)
            return True
        self._without_line[reason] += 1
        return False

    @property
    def left_out(self) -> int:
        """The number of refusals that got no line since the start."""
        return self._summarised + self._without_line.total()

    def write(
        self, decision: Deny, request: Request, ids: ResponseIds, kid: str, trace: Context | None
    ) -> None:
        """Log one refusal at INFO. The rate is not checked: see `take_line`.

        The line begins with `would deny` if the route does not enforce; else with `undecided` for
        UNAVAILABLE and with `denied` for any other reason. kid, trace: empty or None if unknown.
        """
        reason = decision.reason
        verb = "undecided" if reason is Reason.UNAVAILABLE else "denied"
        if request.route.enforce is False:
            verb = "would deny"
        members = _members(decision, request, ids) | {
            "kid": kid,
            "trace_id": trace.trace_id if trace else "",
            "span_id": trace.span_id if trace else "",
        }
        log.info("%s: %s", verb, reason.value, extra=members)

    async def run(self) -> None:
        """Call `summarise` every SUMMARY_SECONDS (10 s) until cancelled, and then once more."""
        try:
            while True:
                await asyncio.sleep(SUMMARY_SECONDS)
                self.summarise()
        finally:
            self.summarise()

    def summarise(self) -> None:
        """Log how many refusals of each reason had no line since the last summary. No log if none.

        From now on each reason may take a line on credit again.
        """
        left_out, self._without_line = self._without_line, Counter()
        self._with_line.clear()
        self._summarised += left_out.total()
        if left_out:
            counts = ", ".join(f"{reason.value} {n}" for reason, n in left_out.most_common())
            log.info(
                "refused, without a line of their own: %s",
                counts,
                extra={"left_out": left_out.total()},
            )


def _members(decision: Deny, request: Request, ids: ResponseIds) -> dict[str, str | bool]:
    """Return the members of a line; unknown ones are empty. Text of a client passes client_text."""
    return {
        "reason": decision.reason.value,
        "report_only": request.route.enforce is False,
        "request_id": client_text.request_id(ids.request_id),
        "charge_id": ids.charge,
        "client_id": decision.key.client_id if decision.key else "",
        "method": client_text.method(request.method),
        "path": client_text.path(request.path),
        "address": client_text.address(request.client_address),
    }
