"""The table of metrics, from authz/telemetry/catalogue.py."""

from authz.telemetry.admin_metrics import ADMIN_METRICS
from authz.telemetry.catalogue import METRICS, Kind, Metric
from authz.telemetry.meter_catalogue import METER_METRICS
from authz.telemetry.process_catalogue import BUILD

FEW = 12  # a label with more values than this is not spelled out
HEAD = "| metric, name in Prometheus | kind, unit | labels | meaning |\n| --- | --- | --- | --- |\n"


def metrics() -> str:
    """Return one row for each metric of the sidecar."""
    return HEAD + "\n".join(_row(metric) for metric in METRICS)


def meter_metrics() -> str:
    """Return one row for each metric of the meter alone."""
    return HEAD + "\n".join(_row(metric) for metric in METER_METRICS)


def admin_metrics() -> str:
    """Return one row for each metric of the admin API that a sidecar does not have."""
    return HEAD + "\n".join(_row(metric) for metric in ADMIN_METRICS if metric not in METRICS)


def _row(metric: Metric) -> str:
    samples = metric.samples[0].removesuffix("_bucket")
    labels = "; ".join(
        f"`{label}`"
        + (f": {', '.join(values)}" if len(values) <= FEW and metric is not BUILD else "")
        for label, values in metric.labels.items()
    )
    kind = metric.kind.value.replace("_", "-")
    buckets = ""
    if metric.kind is Kind.HISTOGRAM:
        buckets = f" Buckets from {metric.bounds[0]:g} to {metric.bounds[-1]:g}."
    names = f"`{metric.name}`<br>`{samples}`"
    unit = metric.unit.strip("{}")
    return f"| {names} | {kind}, {unit} | {labels} | {metric.description}{buckets} |"
