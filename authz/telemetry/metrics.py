"""Export of metrics at /metrics and over OTLP, read from plain numbers.

Counters and gauges are observable instruments of the SDK. The SDK has no observable histogram, so
histograms are added to the data that it has collected.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, cast

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    HistogramDataPoint,
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.export import Histogram as HistogramData
from opentelemetry.sdk.metrics.export import Metric as Collected
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from authz import __version__
from authz.core.histogram import Histogram
from authz.telemetry.catalogue import METRICS
from authz.telemetry.metric import Kind, Labels, Metric

SCOPE: Final = "authz"
STOP_SECONDS: Final = 1.0  # of the last export

_UNKNOWN: Final = cast("float", None)  # omitted in OTLP; 0 would be a false maximum

Read = Callable[[], Iterable[tuple[Labels, float | Histogram]]]
Page = Callable[[str], tuple[bytes, str]]
"""Return a page and its content type for an Accept header."""
Readings = Mapping[Metric, Read]
"""The reader of each metric: yields the value of every series, a Histogram for a histogram."""


@dataclass(frozen=True, slots=True)
class Push:
    """The receiver of OTLP over HTTP, and the seconds between two exports.

    endpoint: its URL, without `/v1/metrics`.
    """

    endpoint: str
    interval: float  # seconds


class Metrics:
    """Export `readings` at `page`, and with `push` also over OTLP.

    about: resource attributes, which identify this process. The constructor starts a thread for
    OTLP exports, so a receiver that hangs or refuses delays nothing. Raises ValueError if a metric
    of the catalogue has no reading.
    """

    def __init__(
        self,
        readings: Readings,
        about: Mapping[str, str],
        push: Push | None = None,
        catalogue: Iterable[Metric] = METRICS,
    ) -> None:
        if missing := [metric.name for metric in catalogue if metric not in readings]:
            raise ValueError(f"nothing reads {', '.join(missing)}")
        histograms = partial(_with_histograms, readings, time.time_ns())
        self._registry = CollectorRegistry()
        readers: list[MetricReader] = [_Scrape(histograms, self._registry)]
        if push:
            from authz.telemetry.otlp_metrics import MetricExporter  # noqa: PLC0415  2 MB

            exporter = MetricExporter(histograms, push.endpoint)
            readers.append(PeriodicExportingMetricReader(exporter, push.interval * 1000))
        self._provider = MeterProvider(readers, Resource.create(about), shutdown_on_exit=False)
        meter = self._provider.get_meter(SCOPE, __version__)
        for metric, read in readings.items():
            if metric.kind is not Kind.HISTOGRAM:
                _instrument(meter, metric, read)

    def page(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics in the Prometheus format that an Accept header asks for, and its type.

        An empty or unknown header gives the default text format.
        """
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def stop(self) -> None:
        """Export a last time if there is a `push`, and stop. Wait at most STOP_SECONDS (1 s)."""
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(STOP_SECONDS)


def _instrument(meter: Meter, metric: Metric, read: Read) -> None:
    make = {
        Kind.COUNTER: meter.create_observable_counter,
        Kind.UP_DOWN: meter.create_observable_up_down_counter,
        Kind.GAUGE: meter.create_observable_gauge,
    }[metric.kind]
    make(metric.name, [partial(_observe, read)], metric.unit, metric.description)


def _observe(read: Read, _options: CallbackOptions) -> Iterable[Observation]:
    return [Observation(cast("float", value), labels) for labels, value in read()]


def _with_histograms(readings: Readings, since: int, collected: MetricsData) -> MetricsData:
    """Return the data of the SDK with our histograms in the same scope.

    since: the start of our histograms, in ns since the epoch.
    """
    now = time.time_ns()
    histograms = [
        _histogram(metric, read, since, now)
        for metric, read in readings.items()
        if metric.kind is Kind.HISTOGRAM
    ]
    (ours,) = collected.resource_metrics
    scopes = [
        replace(of, metrics=[*of.metrics, *histograms]) if of.scope.name == SCOPE else of
        for of in ours.scope_metrics
    ]
    return MetricsData([replace(ours, scope_metrics=scopes)])


def _histogram(metric: Metric, read: Read, since: int, now: int) -> Collected:
    points = []
    for labels, value in read():
        histogram = cast("Histogram", value)
        counts = list(histogram.counts)  # copied once: count must be the sum of these
        points.append(
            HistogramDataPoint(
                attributes=labels,
                start_time_unix_nano=since,
                time_unix_nano=now,
                count=sum(counts),
                sum=histogram.sum,
                bucket_counts=counts,
                explicit_bounds=histogram.bounds,
                min=_UNKNOWN,
                max=_UNKNOWN,
            )
        )
    data = HistogramData(points, AggregationTemporality.CUMULATIVE)
    return Collected(metric.name, metric.description, metric.unit, data)


class _Scrape(PrometheusMetricReader):
    """The SDK's Prometheus reader, with our histograms added."""

    def __init__(
        self, complete: Callable[[MetricsData], MetricsData], registry: CollectorRegistry
    ) -> None:
        super().__init__(scope_info_enabled=False, registry=registry)
        self._complete = complete

    def _receive_metrics(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **more: Any
    ) -> None:
        super()._receive_metrics(self._complete(metrics_data), timeout_millis, **more)
