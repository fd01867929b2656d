"""Export of metrics over OTLP, by OpenTelemetry's SDK. Imported only if a receiver is set.

Counters and gauges are observable instruments of the SDK. The SDK has no observable histogram, so
histograms are added to the data that it has collected.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final, cast

from opentelemetry.exporter.otlp.json.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    HistogramDataPoint,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.export import Histogram as HistogramData
from opentelemetry.sdk.metrics.export import Metric as Collected
from opentelemetry.sdk.resources import Resource

from authz import __version__
from authz.core.histogram import Histogram
from authz.telemetry.metric import Kind, Metric, Read, Readings

EXPORT_SECONDS: Final = 5.0  # of one export
SCOPE: Final = "authz"

_UNKNOWN: Final = cast("float", None)  # omitted in OTLP; 0 would be a false maximum


class OtlpMetrics:
    """Export `readings` to an endpoint every `interval` seconds, in a thread of its own.

    So a receiver that hangs or refuses delays nothing. about: resource attributes, which identify
    this process.
    """

    def __init__(
        self, readings: Readings, about: Mapping[str, str], endpoint: str, interval: float
    ) -> None:
        exporter = _Exporter(partial(_with_histograms, readings, time.time_ns()), endpoint)
        reader = PeriodicExportingMetricReader(exporter, interval * 1000)
        self._provider = MeterProvider([reader], Resource.create(about), shutdown_on_exit=False)
        meter = self._provider.get_meter(SCOPE, __version__)
        for metric, read in readings.items():
            if metric.kind is not Kind.HISTOGRAM:
                _instrument(meter, metric, read)

    def stop(self) -> None:
        """Export a last time, and stop."""
        self._provider.shutdown()


class _Exporter(OTLPMetricExporter):
    """The SDK's OTLP exporter, to `endpoint`. complete: adds to the data that the SDK collected."""

    def __init__(self, complete: Callable[[MetricsData], MetricsData], endpoint: str) -> None:
        super().__init__(f"{endpoint}/v1/metrics", timeout=EXPORT_SECONDS)
        self._complete = complete

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **more: Any
    ) -> MetricExportResult:
        """Export the data of the SDK after `complete`. Return whether the receiver took them."""
        return super().export(self._complete(metrics_data), timeout_millis, **more)


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
