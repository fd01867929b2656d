"""The page of metrics for Prometheus: its text format, and OpenMetrics 1.0.

It says the same as the exporter of OpenTelemetry's SDK, which takes five times as long and 3 MB.
"""

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import unquote

from opentelemetry.sdk.version import __version__ as sdk_version

from authz.core.histogram import Histogram
from authz.telemetry.metric import Kind, Labels, Metric, Readings

OPEN_METRICS: Final = "application/openmetrics-text"
PLAIN: Final = "text/plain"
# Forms of escaping that leave our names as they are, as they need none.
ESCAPING: Final = frozenset({"allow-utf-8", "underscores", "values"})
_TYPES: Final = {Kind.COUNTER: "counter", Kind.HISTOGRAM: "histogram"}  # others: gauge
_UNITS: Final = {"s": "seconds", "By": "bytes"}
_NO_LABEL: Final = re.compile(r"[^a-zA-Z0-9]+")  # of a label's name
_BIGGEST: Final = 6  # digits before the point; Go writes larger numbers with an exponent


def content_type(accept: str) -> str:
    """Return the type of the page that an Accept header asks for.

    The first that is known counts. Without one it is the text format 0.0.4, which every client must
    accept.
    """
    for each in accept.split(","):
        kind, *parameters = (part.strip() for part in each.split(";"))
        given = dict(part.partition("=")[::2] for part in parameters)
        version, escaping = given.get("version", ""), given.get("escaping", "underscores")
        if escaping not in ESCAPING:
            escaping = "underscores"
        if kind == OPEN_METRICS and not version:
            return f"{OPEN_METRICS}; version=1.0.0; charset=utf-8"
        if kind in (OPEN_METRICS, PLAIN) and version == "1.0.0":
            return f"{kind}; version=1.0.0; charset=utf-8; escaping={escaping}"
    return f"{PLAIN}; version=0.0.4; charset=utf-8"


def render(readings: Readings, about: Mapping[str, str], accept: str) -> tuple[bytes, str]:
    """Return the page of all metrics, and its type, in the format that an Accept header asks for.

    about: attributes of this process, for `target_info`. Metrics without a series are left out.
    """
    kind = content_type(accept)
    is_open = kind.startswith(OPEN_METRICS)
    lines = list(_target(about, is_open=is_open))
    histograms = [metric for metric in readings if metric.kind is Kind.HISTOGRAM]
    others = [metric for metric in readings if metric.kind is not Kind.HISTOGRAM]
    for metric in (*others, *histograms):
        lines += _family(metric, readings[metric](), is_open=is_open)
    lines += ["# EOF"] if is_open else []
    return "".join(f"{line}\n" for line in lines).encode(errors="replace"), kind


def resource(about: Mapping[str, str]) -> dict[str, str]:
    """Return the attributes of this process with those of OTEL_RESOURCE_ATTRIBUTES.

    Those of `about` win. An entry of the variable without a `=` or without a name is left out.
    """
    found = {
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.version": sdk_version,
    }
    for entry in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","):
        name, equals, value = entry.partition("=")
        if equals and name.strip():
            found[name.strip()] = unquote(value.strip())
    return found | dict(about)


def _target(about: Mapping[str, str], *, is_open: bool) -> Iterator[str]:
    name, kind = ("target", "info") if is_open else ("target_info", "gauge")
    yield f"# HELP {name} Target metadata"
    yield f"# TYPE {name} {kind}"
    labels = {_label(name): text for name, text in resource(about).items()}
    yield _sample("target_info", labels, 1)


def _label(name: str) -> str:
    """Return the name of an attribute as that of a label. An operator may choose any name."""
    return _NO_LABEL.sub("_", f"_{name[1:]}" if name[0].isdigit() else name)


def _family(
    metric: Metric, series: Iterable[tuple[Labels, float | Histogram]], *, is_open: bool
) -> Iterator[str]:
    samples = list(_samples(metric, series))
    if not samples:
        return
    name = metric.prometheus
    shown = metric.samples[0] if metric.kind is Kind.COUNTER and not is_open else name
    about = metric.description.replace("\\", r"\\").replace("\n", r"\n")
    yield f"# HELP {shown} {_escaped(metric.description) if is_open else about}"
    yield f"# TYPE {shown} {_TYPES.get(metric.kind, 'gauge')}"
    if is_open and metric.unit in _UNITS:
        yield f"# UNIT {shown} {_UNITS[metric.unit]}"
    yield from samples


def _samples(metric: Metric, series: Iterable[tuple[Labels, float | Histogram]]) -> Iterator[str]:
    for labels, value in series:
        if isinstance(value, Histogram):
            yield from _histogram(metric.prometheus, labels, value)
        elif math.isfinite(value):  # the SDK leaves others out, too
            yield _sample(metric.samples[0], labels, value)


def _histogram(name: str, labels: Labels, histogram: Histogram) -> Iterator[str]:
    """Yield the samples of a histogram. Its counts are read once: they may grow meanwhile."""
    total = 0
    bounds = (*(str(bound) for bound in histogram.bounds), "+Inf")
    for bound, count in zip(bounds, list(histogram.counts), strict=True):
        total += count
        yield _sample(f"{name}_bucket", {**labels, "le": bound}, total)
    yield _sample(f"{name}_count", labels, total)
    yield _sample(f"{name}_sum", labels, histogram.sum)


def _sample(name: str, labels: Labels, value: float) -> str:
    pairs = sorted((label.replace(".", "_"), text) for label, text in labels.items())
    shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in pairs)
    return f"{name}{{{shown}}} {_number(value)}" if shown else f"{name} {_number(value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    """Return a finite number as Go writes it."""
    value = float(value)
    text = repr(value)
    point = text.find(".")
    if value > 0 and point > _BIGGEST:
        digits = f"{text[0]}.{text[1:point]}{text[point + 1 :]}".rstrip("0.")
        return f"{digits}e+{point - 1:02d}"
    return text
