"""Observer: what telemetry sees of Checks as they go by.

One in EVERY is timed, and stands for so many in the histogram: to time each would cost three in a
hundred of what it measures. Those that wait for the store are all timed. EVERY is a prime, so that
a client whose requests go round in a circle does not show the same one again and again.
"""

import sys
from time import perf_counter
from typing import TYPE_CHECKING, Final

from authz.core.decision import Decision, Deny
from authz.core.keys.credentials import Presented
from authz.core.request import Request
from authz.telemetry import tracecontext
from authz.telemetry.counters import Counters
from authz.telemetry.denials import Denials
from authz.telemetry.outcomes import ALLOWED, refused
from authz.telemetry.tracecontext import HEADER, NOT_SAMPLED

if TYPE_CHECKING:  # the SDK of traces, which most sidecars do without
    from authz.telemetry.traces import Attributes, Traces

EVERY: Final = 17


class Observer:
    """A Witness. timed: does anybody want the durations?"""

    def __init__(self, counters: Counters, denials: Denials, *, timed: bool = True) -> None:
        self._hit_seconds = counters.hit_seconds
        self._miss_seconds = counters.miss_seconds
        self.take_line, self._tell = denials.take_line, denials.tell  # see Witness
        self._untimed = 0  # how many that are watched are not timed, from here on and each time
        self._gap = 0
        self._traces: Traces | None = None
        self.stride = EVERY - 1 if timed else sys.maxsize

    def trace(self, traces: "Traces") -> None:
        """From here on offer each Check to `traces`."""
        self._traces = traces
        self.stride, self._gap = 0, EVERY - 1

    def saw(
        self,
        decision: Decision,
        request: Request,
        traceparent: bytes | None,
        began: float | None,
        *,
        wanted: bool = False,
        waited: bool = False,
    ) -> None:
        """See Witness."""
        span = None
        if began is not None:
            if self._traces is not None:
                text = traceparent.decode("latin-1") if traceparent else request.header(HEADER, "")
                if text[-3:] != NOT_SAMPLED and self._traces.sample(text):
                    told = attributes(decision, request, waited=waited)
                    span = self._traces.span(tracecontext.parse(text), perf_counter() - began, told)
            if waited:
                self._miss_seconds.add(perf_counter() - began)
            elif self._untimed:
                self._untimed -= 1
            else:
                self._untimed = self._gap
                self._hit_seconds.add(perf_counter() - began, EVERY)
        if wanted and isinstance(decision, Deny):
            trace = span or tracecontext.parse(_said(traceparent, request))
            self._tell(decision, kid(decision, request), trace)


def _said(traceparent: bytes | None, request: Request) -> str:
    """What the call says of its trace, else its request; also of a call that is not traced.

    Of such a call `fast` knows no more than that. A proxy that has a trace puts it into both.
    """
    called = traceparent.decode("latin-1") if traceparent else ""
    return request.header(HEADER, "") if called in {"", NOT_SAMPLED} else called


def attributes(decision: Decision, request: Request, *, waited: bool) -> "Attributes":
    """What a span says of a Check. Nothing that is not known to be harmless."""
    labels = refused(decision.reason) if isinstance(decision, Deny) else ALLOWED
    found: Attributes = {
        "authz.outcome": labels["outcome"],
        "authz.reason": labels["reason"],
        "authz.cache": "miss" if waited else "hit",
        "authz.stale": decision.stale,
    }
    if of_key := kid(decision, request):
        found["authz.key.id"] = of_key
    if decision.key is not None:
        found["authz.client.id"] = decision.key.client_id
    return found


def kid(decision: Decision, request: Request) -> str:
    """Which key it is about: the caller's, or the one it claims to have; empty when none is known.

    A kid is public, and of one shape whoever sent it.
    """
    if decision.key is not None:
        return decision.key.kid
    return request.credential.kid if isinstance(request.credential, Presented) else ""
