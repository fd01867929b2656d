"""Traces: a span `authz.check` for those Checks whose caller is traced, or that are drawn.

Whether there is to be one is decided from the traceparent, before any object is made for it. A
thread exports, in batches; a receiver that hangs or refuses loses spans and holds nobody up.
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
from authz.core.decision import Reason
from authz.core.token_bucket import TokenBucket
from authz.telemetry import tracecontext
from authz.telemetry.tracecontext import Context

NAME: Final = "authz.check"
EXPORT_SECONDS: Final = 5.0  # for one export
STOP_SECONDS: Final = 1.0  # for the last one
BATCH: Final = 128  # spans; they are encoded by a thread that the loop has to wait for
MOST_KEPT: Final = 2048  # spans that wait to be exported

Attributes = dict[str, str | bool]

_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_FINE: Final = Status(StatusCode.UNSET)
_FAILED: Final = Status(StatusCode.ERROR)


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
        self._resource = Resource.create(about)
        self._scope = InstrumentationScope("authz", __version__)
        self._batches = BatchSpanProcessor(
            export, MOST_KEPT, schedule_delay_millis=1000, max_export_batch_size=BATCH
        )

    def sample(self, traceparent: str) -> bool:
        """Is a Check to be traced whose caller is, or says nothing of it?"""
        parent = tracecontext.parse(traceparent)
        drawn = random.random() < self._ratio if parent is None else parent.sampled  # noqa: S311
        return drawn and self._bucket.take(self._monotonic())

    def span(self, parent: Context | None, seconds: float, attributes: Attributes) -> Context:
        """Hand over the span of a Check that took so long until now.

        As it is when it has ended: a span that is begun and ended by the SDK costs fifteen times as
        much, seven Checks.
        """
        ended = time.time_ns()
        trace_id = int(parent.trace_id, 16) if parent else random.getrandbits(128)
        made = SpanContext(trace_id, random.getrandbits(64), False, _SAMPLED)
        caller = None
        if parent:
            caller = SpanContext(trace_id, int(parent.span_id, 16), True, _SAMPLED)
        self._batches.on_end(
            ReadableSpan(
                NAME,
                made,
                caller,
                self._resource,
                attributes,
                kind=SpanKind.SERVER,
                status=_FAILED if attributes["authz.reason"] == Reason.UNAVAILABLE else _FINE,
                start_time=ended - round(seconds * 1e9),
                end_time=ended,
                instrumentation_scope=self._scope,
            )
        )
        return Context(f"{trace_id:032x}", f"{made.span_id:016x}")

    def stop(self) -> None:
        """Send what there is a last time, within STOP_SECONDS whatever the receiver does."""
        ending = threading.Thread(target=self._batches.shutdown, daemon=True)
        ending.start()
        ending.join(STOP_SECONDS)
