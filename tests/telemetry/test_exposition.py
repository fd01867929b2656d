"""The page of metrics is, byte for byte, the one of OpenTelemetry's exporter for Prometheus."""

import os
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from authz.core.histogram import Histogram
from authz.telemetry.admin_metrics import ADMIN_METRICS
from authz.telemetry.catalogue import METRICS
from authz.telemetry.exposition import content_type, render
from authz.telemetry.meter_catalogue import METER_METRICS
from authz.telemetry.metric import Kind, Metric, Readings
from authz.telemetry.otlp_metrics import SCOPE, _instrument, _with_histograms

ABOUT = {"service.name": "authz", "service.version": "1.2.3", "service.instance.id": 'a"b\\c'}
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
ACCEPTED = [
    *("", "*/*", "text/plain", "text/html, text/plain;version=0.0.4", PROMETHEUS_3),
    *("text/plain; version=1.0.0", "text/plain;version=1.0.0;escaping=values"),
    *("application/openmetrics-text", "application/openmetrics-text; version=1.0.0"),
    *("application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4", "a;b=c,,;"),
    "application/openmetrics-text;version=1.0.0;escaping=else",
]
VALUES = [0, 1, 0.5, 123_456, 1_234_567, 12_345_678_901, 2.5e-7, 1e21, float("inf"), -3]


class Reference(PrometheusMetricReader):
    """OpenTelemetry's exporter, with our histograms."""

    def __init__(self, readings: Readings, registry: CollectorRegistry) -> None:
        super().__init__(scope_info_enabled=False, registry=registry)
        self._complete = partial(_with_histograms, readings, time.time_ns())

    def _receive_metrics(self, metrics_data: MetricsData, *more: Any, **options: Any) -> None:
        super()._receive_metrics(self._complete(metrics_data), *more, **options)


def made(catalogue: tuple[Metric, ...]) -> Readings:
    """Readings with a value of every size."""
    values = iter(VALUES * 1000)

    def read(metric: Metric) -> Iterator[tuple[Any, Any]]:
        for labels in metric.series:
            if metric.kind is Kind.HISTOGRAM:
                histogram = Histogram(metric.bounds)
                histogram.add(metric.bounds[0], 3)
                histogram.add(metric.bounds[-1] * 2)
                yield labels, histogram
            else:
                yield labels, abs(next(values))

    found = {metric: list(read(metric)) for metric in catalogue}
    return {metric: partial(list, series) for metric, series in found.items()}


@pytest.mark.parametrize("accept", ACCEPTED)
@pytest.mark.parametrize("catalogue", [METRICS, METER_METRICS, ADMIN_METRICS])
def test_it_is_the_page_of_the_official_exporter(catalogue, accept, monkeypatch):
    """In each format that a client can ask for, with the attributes of the environment."""
    monkeypatch.setenv(
        "OTEL_RESOURCE_ATTRIBUTES",
        "k8s.pod.name=a%20b, other = x ,odd,service.name=y,team-a=1,9z=2,ü{}=3,a.b=4,a-b=5,=6",
    )
    readings, registry = made(tuple(catalogue)), CollectorRegistry()
    reader = Reference(readings, registry)
    provider = MeterProvider([reader], Resource.create(ABOUT), shutdown_on_exit=False)
    meter = provider.get_meter(SCOPE)
    for metric, read in readings.items():
        if metric.kind is not Kind.HISTOGRAM:
            _instrument(meter, metric, read)
    encode, kind = choose_encoder(accept)
    page = encode(registry).decode()
    provider.shutdown()

    ours, our_kind = render(readings, ABOUT, accept)
    assert our_kind == kind == content_type(accept)
    assert ours.decode().splitlines() == page.splitlines()
    assert ours == page.encode()


def test_bytes_of_the_environment_that_are_no_text_spoil_no_page(monkeypatch):
    """Bytes that are not UTF-8 are shown as question marks."""
    monkeypatch.setitem(os.environ._data, b"OTEL_RESOURCE_ATTRIBUTES", b"team=\xff")
    page, _ = render({}, ABOUT, "")
    assert b'team="?"' in page


def test_a_metric_without_a_series_is_left_out():
    """A family without a sample says nothing."""
    metric = METRICS[0]
    assert metric.prometheus not in render({metric: list}, ABOUT, "")[0].decode()
