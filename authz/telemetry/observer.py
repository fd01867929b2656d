"""Observer: durations, spans and denial lines of Checks.

One in EVERY cache hits is timed and counts EVERY times in the histogram: timing each would add 3 %
to its duration. All Checks that wait for the store are timed. EVERY is a prime, so that a client
with periodic requests is sampled evenly.
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
    """A CheckObserver. timed: whether durations are measured."""

    def __init__(self, counters: Counters, denials: Denials, *, timed: bool = True) -> None:
        self._hit_seconds = counters.hit_seconds
        self._miss_seconds = counters.miss_seconds
        self.take_line, self._write_line = denials.take_line, denials.write  # see CheckObserver
        self._untimed = 0  # observed Checks until the next one that is timed
        self._gap = 0
        self._traces: Traces | None = None
        self.stride = EVERY - 1 if timed else sys.maxsize

    def trace(self, traces: "Traces") -> None:
        """Offer each Check to `traces` from now on."""
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
        """See CheckObserver."""
        span = None
        if began is not None:
            if self._traces is not None:
                text = traceparent.decode("latin-1") if traceparent else request.header(HEADER, "")
                if text[-3:] != NOT_SAMPLED and self._traces.sample(text):
                    said = attributes(decision, request, waited=waited)
                    span = self._traces.span(tracecontext.parse(text), perf_counter() - began, said)
            if waited:
                self._miss_seconds.add(perf_counter() - began)
            elif self._untimed:
                self._untimed -= 1
            else:
                self._untimed = self._gap
                self._hit_seconds.add(perf_counter() - began, EVERY)
        if wanted and isinstance(decision, Deny):
            trace = span or tracecontext.parse(_traceparent(traceparent, request))
            self._write_line(decision, kid(decision, request), trace)


def _traceparent(traceparent: bytes | None, request: Request) -> str:
    """Return the traceparent of the call, else of the request.

    For a call that is not sampled, `fast` passes only NOT_SAMPLED. A proxy with a trace sets the
    header in both.
    """
    called = traceparent.decode("latin-1") if traceparent else ""
    return request.header(HEADER, "") if called in {"", NOT_SAMPLED} else called


def attributes(decision: Decision, request: Request, *, waited: bool) -> "Attributes":
    """Return the attributes of a span. None of them is a text of the client."""
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
    """Return the kid of the key, proven or only claimed; empty without one.

    A kid is public and always has 16 letters and digits.
    """
    if decision.key is not None:
        return decision.key.kid
    return request.credential.kid if isinstance(request.credential, Presented) else ""
