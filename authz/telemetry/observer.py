"""Observer: what telemetry sees of Checks as they go by.

One in EVERY is timed, and stands for so many in the histogram: to time each would cost three in a
hundred of what it measures. Those that wait for the store are all timed. EVERY is a prime, so that
a client whose requests go round in a circle does not show the same one again and again.
"""

import sys
import time
from typing import TYPE_CHECKING, Final

from authz.core.decision import Decision, Deny
from authz.core.keys import Presented
from authz.core.ports import Watch
from authz.core.request import Request
from authz.telemetry import tracecontext
from authz.telemetry.catalogue import ALLOWED, refused
from authz.telemetry.counters import Counters
from authz.telemetry.denials import Denials
from authz.telemetry.tracecontext import Parent

if TYPE_CHECKING:  # the SDK of traces, which most sidecars do without
    from authz.telemetry.traces import Attributes, Traces

EVERY: Final = 17


class Observer:
    """A Witness. timed: does anybody want the durations? `traces`: None while there are none."""

    def __init__(self, counters: Counters, denials: Denials, *, timed: bool = True) -> None:
        self.counters = counters
        self._denials = denials
        self._timed = timed
        self.traces: Traces | None = None
        self._untimed = 0  # how many Checks to come are not timed, while each is asked about

    def begin(self, raw: bytes, traceparent: bytes | None) -> tuple[int, Watch | None]:
        """See Witness."""
        traces = self.traces
        if traces is None:
            if not self._timed:
                return sys.maxsize, None
            return EVERY - 1, _Watched(self, traceparent, EVERY)
        times = 0
        if self._untimed:
            self._untimed -= 1
        else:
            self._untimed, times = EVERY - 1, EVERY
        traced = traces.wants(raw, traceparent)
        return 0, _Watched(self, traceparent, times, traced) if times or traced else None

    def wait(self, watch: Watch | None, traceparent: bytes | None) -> Watch:
        """See Witness."""
        watched = watch if isinstance(watch, _Watched) else _Watched(self, traceparent)
        watched.waited = True
        return watched

    def refused(
        self,
        decision: Deny,
        request: Request,
        traceparent: bytes | None,
        span: tuple[str, str] | None = None,
    ) -> None:
        """See Witness. span: of this very Check, if it has one."""
        if not self._denials.has_room(decision):
            return
        trace = Parent(*span, True) if span else _parent(request, traceparent)
        self._denials.tell(decision, kid(decision, request), trace)


class _Watched:
    """A Watch of one Check. times: for how many it stands if it is answered at once."""

    __slots__ = ("_began", "_began_ns", "_observer", "_times", "_traced", "_traceparent", "waited")

    def __init__(
        self, observer: Observer, traceparent: bytes | None, times: int = 0, traced: bool = False
    ) -> None:
        self._observer = observer
        self._traceparent = traceparent
        self._times = times
        self._traced = traced
        self._began_ns = time.time_ns() if traced else 0
        self.waited = False
        self._began = time.perf_counter()

    def __call__(self, decision: Decision, request: Request) -> None:
        """See Watch."""
        took = time.perf_counter() - self._began
        observer, span = self._observer, None
        if self.waited:
            observer.counters.miss_seconds.add(took)
        elif self._times:
            observer.counters.hit_seconds.add(took, self._times)
        if self._traced and observer.traces is not None:
            span = observer.traces.span(
                _parent(request, self._traceparent),
                self._began_ns,
                self._began_ns + round(took * 1e9),
                attributes(decision, request, waited=self.waited),
            )
        if isinstance(decision, Deny):
            observer.refused(decision, request, self._traceparent, span)


def _parent(request: Request, traceparent: bytes | None) -> Parent | None:
    """Where the Check stands in a trace: by the call that carries it, else by the request."""
    said = traceparent or request.header(tracecontext.HEADER, "").encode(errors="replace")
    return tracecontext.parse(said)


def attributes(decision: Decision, request: Request, *, waited: bool) -> "Attributes":
    """What a span says of a Check. Nothing that is not known to be harmless."""
    labels = refused(decision.reason) if isinstance(decision, Deny) else ALLOWED
    found: Attributes = {
        "authz.outcome": labels["outcome"],
        "authz.reason": labels["reason"],
        "authz.cache": "miss" if waited else "hit",
        "authz.stale": decision.stale,
        "authz.key.id": kid(decision, request),
        "authz.client.id": decision.key.client_id if decision.key else "",
    }
    return {name: value for name, value in found.items() if value != ""}


def kid(decision: Decision, request: Request) -> str:
    """Which key it is about: the caller's, or the one it claims to have; empty when none is known.

    A kid is public, and of one shape whoever sent it.
    """
    if decision.key is not None:
        return decision.key.kid
    return request.credential.kid if isinstance(request.credential, Presented) else ""
