"""AdminObserver: counts the calls of the admin API, and makes spans of sampled ones.

Names are those of OpenTelemetry's conventions for RPC spans:
https://opentelemetry.io/docs/specs/semconv/rpc/rpc-spans/
"""

from typing import TYPE_CHECKING, Final

from authz.telemetry import tracecontext
from authz.telemetry.admin_metrics import CallCounters

if TYPE_CHECKING:  # the SDK of traces is imported only if traces are on
    from authz.telemetry.traces import Traces

PACKAGE: Final = "authz.admin.v1"
FAULTS: Final = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)
"""The codes that make the status of a server's span ERROR. Others blame the caller."""


class AdminObserver:
    """A CallObserver. Without `trace` it counts only."""

    def __init__(self, counters: CallCounters) -> None:
        self._counters = counters
        self._traces: Traces | None = None

    def trace(self, traces: "Traces") -> None:
        """Offer each call to `traces` from now on."""
        self._traces = traces

    def observe(
        self, method: str, code: str, seconds: float, *, traceparent: str, request_id: str
    ) -> None:
        """Count one call that has ended, and queue its span if it is sampled.

        method: such as `Keys.GetKey`. traceparent: of the call; without a valid one the span
        begins a trace. request_id: the id that the log line of the call has, too.
        """
        self._counters.observe(method, code, seconds)
        if self._traces is not None and self._traces.sample(traceparent):
            name = f"{PACKAGE}.{method.replace('.', '/')}"
            self._traces.span(
                tracecontext.parse(traceparent),
                seconds,
                {
                    "rpc.system.name": "grpc",
                    "rpc.method": name,
                    "rpc.response.status_code": code,
                    "authz.request.id": request_id,
                },
                name=name,
                failed=code in FAULTS,
            )
