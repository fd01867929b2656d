"""The catalogue of metrics has unique names, and Prometheus uses the names that it tells."""

import re

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics import exposition, parser

from authz.core.decision import Reason
from authz.core.events import Event
from authz.rpc.check.reason_table import TABLE
from authz.storage.lag import BOUNDS_MS
from authz.telemetry import catalogue
from authz.telemetry.catalogue import METRICS, Kind, Metric
from authz.telemetry.events import COUNTED
from authz.telemetry.meter_catalogue import METER_METRICS
from authz.telemetry.outcomes import AUTHENTICATION

ALL = (*METRICS, *METER_METRICS)


def exported(metric: Metric) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    """Return name and labels of every sample that the official exporter makes of a metric."""
    registry = CollectorRegistry()
    reader = PrometheusMetricReader(True, scope_info_enabled=False, registry=registry)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    meter = provider.get_meter("authz")
    kinds = {
        Kind.COUNTER: meter.create_counter,
        Kind.UP_DOWN: meter.create_up_down_counter,
        Kind.GAUGE: meter.create_gauge,
    }
    if metric.kind is Kind.HISTOGRAM:
        histogram = meter.create_histogram(
            metric.name, metric.unit, explicit_bucket_boundaries_advisory=metric.bounds
        )
        for labels in metric.series:
            histogram.record(1, labels)
    else:
        instrument = kinds[metric.kind](metric.name, metric.unit)
        for labels in metric.series:
            add = instrument.set if metric.kind is Kind.GAUGE else instrument.add
            add(1, labels)
    families = parser.text_string_to_metric_families(exposition.generate_latest(registry).decode())
    found = {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in families
        for sample in family.samples
    }
    provider.shutdown()
    return found


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_the_official_exporter_makes_the_names_of_the_catalogue(metric: Metric) -> None:
    """The exporter has the same samples, labels and label values."""
    found = exported(metric)

    assert {name for name, _ in found} == set(metric.samples)
    for label, values in metric.prometheus_labels.items():
        said = [dict(labels)[label] for _, labels in found if label in dict(labels)]
        assert set(said) == set(values)


def test_a_collector_calls_a_metric_the_same() -> None:
    """Each unit is one that a collector maps to the same name."""
    units = {metric.unit for metric in ALL}
    assert {unit for unit in units if not re.fullmatch(r"{[a-z]+}", unit)} == {"s", "By"}


def test_metrics_are_named_once() -> None:
    """No two metrics and no two Prometheus samples share a name."""
    for names in ([m.name for m in ALL], [s for m in ALL for s in m.samples]):
        assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_the_series_of_a_metric_have_the_same_labels(metric: Metric) -> None:
    """All series of a metric have the same labels, and no two are equal."""
    assert len({tuple(sorted(labels)) for labels in metric.series}) == 1
    assert len({tuple(sorted(labels.items())) for labels in metric.series}) == len(metric.series)


@pytest.mark.parametrize("event", Event)
def test_every_event_is_counted_in_a_series_of_its_own(event: Event) -> None:
    """Each event has an existing series that no other event shares."""
    metric, labels = COUNTED[event]

    assert metric in METRICS
    assert labels in metric.series
    assert [e for e, where in COUNTED.items() if where == (metric, labels)] == [event]


def test_authentication_failures_are_what_is_answered_with_401() -> None:
    """The authentication reasons are those with status 401, and the 429 that takes their place."""
    with_401 = {reason for reason in Reason if TABLE[reason].status == 401}
    assert with_401 | {Reason.TOO_MANY_FAILURES} == set(AUTHENTICATION)


def test_the_steps_of_the_lag_are_those_that_storage_counts() -> None:
    """The bounds of the lag are the same in seconds and in milliseconds."""
    assert catalogue.CHANGE_LAG.bounds == tuple(bound / 1000 for bound in BOUNDS_MS)
