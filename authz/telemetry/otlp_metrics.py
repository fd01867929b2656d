"""Export of metrics over OTLP. Imported only if a receiver is set."""

from collections.abc import Callable
from typing import Any, Final

from opentelemetry.exporter.otlp.json.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData

EXPORT_SECONDS: Final = 5.0  # of one export


class MetricExporter(OTLPMetricExporter):
    """The SDK's OTLP exporter, to `endpoint`. complete: adds to the data that the SDK collected."""

    def __init__(self, complete: Callable[[MetricsData], MetricsData], endpoint: str) -> None:
        super().__init__(f"{endpoint}/v1/metrics", timeout=EXPORT_SECONDS)
        self._complete = complete

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **more: Any
    ) -> MetricExportResult:
        """Export the data of the SDK after `complete`. Return whether the receiver took them."""
        return super().export(self._complete(metrics_data), timeout_millis, **more)
