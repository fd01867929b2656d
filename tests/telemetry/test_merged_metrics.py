"""The metrics of several processes as one page."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from authz.telemetry.merged_metrics import merged


def page(count: int) -> str:
    """Return a page with a counter, a gauge and a histogram."""
    registry = CollectorRegistry()
    Counter("authz_checks", "Checks.", ["result"], registry=registry).labels('a"\\\n').inc(count)
    Gauge("authz_free", "Free\nspace.", registry=registry).set(float("inf"))
    Histogram("authz_seconds", "Time.", registry=registry, buckets=[1]).observe(0.25 * count)
    return generate_latest(registry).decode()


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return the value of each series."""
    return {
        (each.name, frozenset(each.labels.items())): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


def test_each_series_gets_the_label_of_its_process():
    """No series is lost, and values and other labels stay."""
    text = merged({"0": page(1), "7": page(3)}, "")[0].decode()
    for process, count in (("0", 1), ("7", 3)):
        for (name, labels), value in samples(page(count)).items():
            if not name.endswith("_created"):
                assert samples(text)[name, labels | {("process", process)}] == value


def test_a_name_is_described_once():
    """Prometheus refuses a page that describes a name twice."""
    text = merged({"0": page(1), "1": page(2)}, "")[0].decode()
    described = [line for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(described) == len(set(described))


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_the_format_is_the_one_that_was_asked_for(accept):
    """OpenMetrics ends with a mark."""
    text, content_type = merged({"0": page(1)}, accept)
    assert content_type.startswith("application/openmetrics-text" if accept else "text/plain")
    assert text.decode().endswith("# EOF\n") is bool(accept)


def test_without_a_page_nothing_is_said():
    """All processes may be starting."""
    assert merged({}, "")[0] == b""
