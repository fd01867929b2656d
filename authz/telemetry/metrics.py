"""Export of metrics at /metrics and over OTLP, read from plain numbers."""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from authz.telemetry.catalogue import METRICS
from authz.telemetry.exposition import render
from authz.telemetry.metric import Metric, Readings

STOP_SECONDS: Final = 1.0  # of the last export

Page = Callable[[str], tuple[bytes, str]]
"""Return a page and its content type for an Accept header."""


@dataclass(frozen=True, slots=True)
class Push:
    """The receiver of OTLP over HTTP, and the seconds between two exports.

    endpoint: its URL, without `/v1/metrics`.
    """

    endpoint: str
    interval: float  # seconds


class Metrics:
    """Export `readings` at `page`, and with `push` also over OTLP.

    about: resource attributes, which identify this process. Raises ValueError if a metric of the
    catalogue has no reading.
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
        self._readings, self._about = readings, about
        self._end_export: Callable[[], None] | None = None
        if push:
            from authz.telemetry.otlp_metrics import OtlpMetrics  # noqa: PLC0415  5 MB

            otlp = OtlpMetrics(readings, about, push.endpoint, push.interval)
            self._end_export = otlp.stop

    def page(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics in the Prometheus format that an Accept header asks for, and its type.

        An empty or unknown header gives the default text format.
        """
        return render(self._readings, self._about, accept)

    def stop(self) -> None:
        """Export a last time if there is a `push`, and stop. Wait at most STOP_SECONDS (1 s)."""
        if self._end_export is None:
            return
        ending = threading.Thread(target=self._end_export, daemon=True)
        ending.start()
        ending.join(STOP_SECONDS)
