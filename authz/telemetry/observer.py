"""Observer: records durations, spans and log lines of Checks.

One Check in EVERY is timed and counts EVERY times in the histogram. Timing each would cost 3 % of a
Check. Checks that wait for the store are all timed. EVERY is a prime: a client that repeats a cycle
of requests does not show the same one again and again.
"""

import sys
from time import perf_counter
from typing import TYPE_CHECKING, Final

from authz.core.decision import Decision, Deny, Reason
from authz.core.keys.credentials import Presented
from authz.core.ports import ResponseIds
from authz.core.request import Request
from authz.telemetry import tracecontext
from authz.telemetry.counters import Counters
from authz.telemetry.denials import Denials
from authz.telemetry.metric import Labels
from authz.telemetry.outcomes import ALLOWED, refused, reported
from authz.telemetry.tracecontext import HEADER, NOT_SAMPLED

if TYPE_CHECKING:  # most sidecars run without the SDK of traces
    from authz.telemetry.traces import Attributes, Traces

EVERY: Final = 17


class Observer:
    """A CheckObserver. timed: whether durations are exported.

    Without `timed` only the first Check and those that wait are timed, until `trace` is called.
    """

    def __init__(self, counters: Counters, denials: Denials, *, timed: bool = True) -> None:
        self._hit_seconds = counters.hit_seconds
        self._miss_seconds = counters.miss_seconds
        self.take_line, self._write_line = denials.take_line, denials.write  # see CheckObserver
        self._untimed = 0  # how many Checks that are observed come before the next timed one
        self._gap = 0
        self._traces: Traces | None = None
        self.stride = EVERY - 1 if timed else sys.maxsize

    def trace(self, traces: "Traces") -> None:
        """Offer each Check to `traces` from now on.

        Every Check is then timed; one in EVERY is recorded.
        """
        self._traces = traces
        self.stride, self._gap = 0, EVERY - 1

    def observe(
        self,
        decision: Decision,
        request: Request,
        traceparent: bytes | None,
        began: float | None,
        *,
        ids: ResponseIds | None = None,
        waited: bool = False,
    ) -> None:
        """Record a Check: its duration, its span if sampled, and its log line if `ids` are given.

        Duration and span need `began` (seconds of perf_counter). The duration of a hit counts EVERY
        times; after `trace`, only one hit in EVERY counts. The line is written only for a Deny. It
        names its trace also if there is no span. traceparent: of the call. If it is None or empty,
        the traceparent of the request is used.
        """
        span = None
        if began is not None:
            if self._traces is not None:
                text = traceparent.decode("latin-1") if traceparent else request.header(HEADER, "")
                if text[-3:] != NOT_SAMPLED and self._traces.sample(text):
                    about = attributes(decision, request, waited=waited)
                    span = self._traces.span(
                        tracecontext.parse(text),
                        perf_counter() - began,
                        about,
                        failed=about["authz.reason"] == Reason.UNAVAILABLE,
                    )
            if waited:
                self._miss_seconds.add(perf_counter() - began)
            elif self._untimed:
                self._untimed -= 1
            else:
                self._untimed = self._gap
                self._hit_seconds.add(perf_counter() - began, EVERY)
        if ids is not None and isinstance(decision, Deny):
            trace = span or tracecontext.parse(_traceparent(traceparent, request))
            self._write_line(decision, request, ids, kid(decision, request), trace)


def _traceparent(called: bytes | None, request: Request) -> str:
    """Return the call's traceparent, or the request's if the call's is None, empty or `-00`.

    `-00` alone is what `fast` passes for a call that is not sampled. A proxy that traces writes the
    traceparent into the call and into the request. Empty if neither has one.
    """
    text = called.decode("latin-1") if called else ""
    return request.header(HEADER, "") if text in {"", NOT_SAMPLED} else text


def attributes(decision: Decision, request: Request, *, waited: bool) -> "Attributes":
    """Return the attributes of the span of a Check. None of them is text of a client.

    The key id is left out if unknown, the client id if no key was proven. waited: for the store.
    """
    labels: Labels = ALLOWED
    if isinstance(decision, Deny):
        is_reported = request.route.enforce is False
        labels = (reported if is_reported else refused)(decision.reason)
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
    """Return the kid of the proven key, else the kid in a key of our format, else an empty text.

    A kid is public, and has one shape whoever sent it.
    """
    if decision.key is not None:
        return decision.key.kid
    return request.credential.kid if isinstance(request.credential, Presented) else ""
