"""Traces: a span `authz.check` for those Checks whose caller is traced, or that are drawn.

Whether there is to be a span is decided from the bytes, before any object of the SDK is made: all
but one in a hundred Checks have none, and shall not pay for it. A thread exports, in batches; a
receiver that hangs or refuses loses spans, and holds nobody up.
"""

import random
import threading
from collections.abc import Callable, Mapping
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from authz import __version__
from authz.core.bucket import TokenBucket
from authz.core.decision import Reason
from authz.telemetry import tracecontext
from authz.telemetry.tracecontext import SAMPLED_DIGITS, Parent

NAME: Final = "authz.check"
EXPORT_SECONDS: Final = 5.0  # for one export
STOP_SECONDS: Final = 1.0  # for the last one

Attributes = dict[str, str | bool]


def exporter(endpoint: str) -> SpanExporter:
    """Sends spans to a receiver of OTLP over HTTP."""
    return OTLPSpanExporter(f"{endpoint}/v1/traces", timeout=EXPORT_SECONDS)


class Traces:
    """Decides which Checks are traced, and makes their spans.

    ratio: of Checks whose caller says nothing of a trace; whoever says something is followed. rate:
    spans a second at most, for anybody can ask for one. about: of this process, for the receiver.
    """

    def __init__(
        self,
        export: SpanExporter,
        monotonic: Callable[[], float],
        about: Mapping[str, str],
        *,
        ratio: float,
        rate: float,
    ) -> None:
        self._monotonic = monotonic
        self._ratio = ratio
        self._bucket = TokenBucket(rate)
        self._provider = TracerProvider(ALWAYS_ON, Resource(about), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(export))
        self._tracer = self._provider.get_tracer("authz", __version__)

    def wants(self, raw: bytes, traceparent: bytes | None) -> bool:
        """Is a Check to be traced? The call's traceparent goes before that of the request."""
        traceparent = traceparent or tracecontext.find(raw)
        if traceparent and traceparent[-1] not in SAMPLED_DIGITS:
            return False
        parent = tracecontext.parse(traceparent) if traceparent else None
        if parent is None and random.random() >= self._ratio:  # noqa: S311  a sample
            return False
        return self._bucket.take(self._monotonic())

    def span(
        self, parent: Parent | None, began: int, ended: int, attributes: Attributes
    ) -> tuple[str, str]:
        """Make the span of a Check, from and to nanoseconds since the epoch; its ids."""
        context = None
        if parent is not None:
            caller = SpanContext(
                int(parent.trace_id, 16),
                int(parent.span_id, 16),
                is_remote=True,
                trace_flags=TraceFlags(TraceFlags.SAMPLED),
            )
            context = set_span_in_context(NonRecordingSpan(caller))
        span = self._tracer.start_span(NAME, context, SpanKind.SERVER, attributes, start_time=began)
        if attributes["authz.reason"] == Reason.UNAVAILABLE:
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended)
        made = span.get_span_context()
        return f"{made.trace_id:032x}", f"{made.span_id:016x}"

    def stop(self) -> None:
        """Send what there is a last time, within STOP_SECONDS whatever the receiver does."""
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(STOP_SECONDS)
