"""Traces: a span `authz.check` for sampled Checks, and one for sampled calls of the admin API.

The traceparent decides about sampling before any object is made. A thread exports in batches. A
receiver that hangs or refuses loses spans, and delays nothing.
"""

import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from opentelemetry.exporter.otlp.json.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from authz import __version__
from authz.core.token_bucket import TokenBucket
from authz.telemetry import tracecontext
from authz.telemetry.tracecontext import Context

NAME: Final = "authz.check"
EXPORT_SECONDS: Final = 5.0  # of one export
STOP_SECONDS: Final = 1.0  # of the last export
BATCH: Final = 128  # spans; the encoding thread holds the interpreter lock
MAX_QUEUED: Final = 2048  # spans that wait for export

Attributes = dict[str, str | bool]

_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_FINE: Final = Status(StatusCode.UNSET)
_FAILED: Final = Status(StatusCode.ERROR)


def exporter(endpoint: str) -> SpanExporter:
    """Return an exporter of spans to `endpoint`/v1/traces, OTLP over HTTP in JSON.

    One export may take EXPORT_SECONDS (5 s).
    """
    return OTLPSpanExporter(f"{endpoint}/v1/traces", timeout=EXPORT_SECONDS)


class Traces:
    """Sample Checks, or calls of the admin API, and make their spans.

    ratio: share of those without a traceparent; others follow the decision of their caller. rate:
    spans a second at most, because any client can ask for one. about: resource attributes.
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
        self._resource = Resource.create(about)
        self._scope = InstrumentationScope("authz", __version__)
        self._batches = BatchSpanProcessor(
            export, MAX_QUEUED, schedule_delay_millis=1000, max_export_batch_size=BATCH
        )

    def sample(self, traceparent: str) -> bool:
        """Return whether to trace a Check or a call, and take it from the rate if so.

        Without a valid traceparent, `ratio` decides at random; else its sampled flag. False if the
        rate is used up.
        """
        parent = tracecontext.parse(traceparent)
        drawn = random.random() < self._ratio if parent is None else parent.sampled  # noqa: S311
        return drawn and self._bucket.take(self._monotonic())

    def span(
        self,
        parent: Context | None,
        seconds: float,
        attributes: Attributes,
        *,
        name: str = NAME,
        failed: bool = False,
    ) -> Context:
        """Queue the span of a Check or a call that ends now and took `seconds`. Return its context.

        Without `parent` it begins a new trace. A full queue drops spans. failed: whether its status
        is ERROR. The finished span is built directly: a span that the SDK begins and ends costs 15
        times as much, as long as seven Checks.
        """
        ended = time.time_ns()
        trace_id = int(parent.trace_id, 16) if parent else random.getrandbits(128)
        made = SpanContext(trace_id, random.getrandbits(64), False, _SAMPLED)
        caller = None
        if parent:
            caller = SpanContext(trace_id, int(parent.span_id, 16), True, _SAMPLED)
        self._batches.on_end(
            ReadableSpan(
                name,
                made,
                caller,
                self._resource,
                attributes,
                kind=SpanKind.SERVER,
                status=_FAILED if failed else _FINE,
                start_time=ended - round(seconds * 1e9),
                end_time=ended,
                instrumentation_scope=self._scope,
            )
        )
        return Context(f"{trace_id:032x}", f"{made.span_id:016x}")

    def stop(self) -> None:
        """Export the queued spans and stop. Wait at most STOP_SECONDS (1 s)."""
        ending = threading.Thread(target=self._batches.shutdown, daemon=True)
        ending.start()
        ending.join(STOP_SECONDS)
