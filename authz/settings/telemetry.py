"""The sections `log` and `telemetry`: logs, metrics and traces."""

from typing import Annotated

from authz.settings.parsers import Between
from authz.settings.sections import Section
from authz.settings.values import HttpUrl, Level, seconds


class Log(Section):
    """Logs, on stderr."""

    level: Level = "INFO"


class Otlp(Section):
    """The receiver of telemetry: OTLP over HTTP, as JSON. interval: seconds between exports."""

    endpoint: HttpUrl
    interval: Annotated[float, seconds("1s", "1h")] = 15.0


class Tracing(Section):
    """Spans of Checks and of calls of the admin API. Needs `otlp`."""

    enabled: bool = False
    sample_ratio: Annotated[float, Between(0, 1)] = 0.01
    max_per_second: Annotated[int, Between(1, 100_000)] = 100


class Telemetry(Section):
    """Metrics, traces and denial lines."""

    metrics: bool = True
    denials_per_second: Annotated[int, Between(1, 100_000)] = 1
    otlp: Otlp | None = None
    tracing: Tracing = Tracing()
