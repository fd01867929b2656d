"""deploy/metrics.md, from the catalogue: `python -m tests.docs.metrics` writes it anew."""

from pathlib import Path

from authz.telemetry.catalogue import BUILD, METRICS, Kind, Metric

FILE = Path(__file__).parents[3] / "deploy" / "metrics.md"
HEAD = """# Metrics

What a sidecar exports at `/metrics` and, where `telemetry.otlp` is set, over OTLP. Written by
`python -m tests.docs.metrics` from
[`authz/telemetry/catalogue.py`](../authz/telemetry/catalogue.py).

Every series is there from the start. No label holds anything that a client wrote. One answer in 17
on a cache hit is timed, and counts for 17 in `authz.check.duration`.

| metric, and what Prometheus calls it | kind, unit | labels | what it says |
| --- | --- | --- | --- |
"""
FEW = 12  # values of a label that are written down; reasons are in the README


def row(metric: Metric) -> str:
    """A line of the table."""
    samples = metric.samples[0].removesuffix("_bucket")
    labels = "; ".join(
        f"`{label}`"
        + (f": {', '.join(values)}" if len(values) <= FEW and metric is not BUILD else "")
        for label, values in metric.labels.items()
    )
    kind = metric.kind.value.replace("_", "-")
    steps = ""
    if metric.kind is Kind.HISTOGRAM:
        steps = f" From {metric.bounds[0]:g} to {metric.bounds[-1]:g}."
    names = f"`{metric.name}`<br>`{samples}`"
    return (
        f"| {names} | {kind}, {metric.unit.strip('{}')} | {labels} | {metric.description}{steps} |"
    )


def document() -> str:
    """The whole file."""
    return HEAD + "".join(f"{row(metric)}\n" for metric in METRICS)


if __name__ == "__main__":
    FILE.write_text(document())
