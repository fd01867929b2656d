"""The sections `log` and `telemetry`: logs, metrics and traces."""

from typing import Annotated

from pydantic import Field

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
    sample_ratio: float = Field(0.01, ge=0, le=1)
    max_per_second: int = Field(100, ge=1, le=100_000)


class Telemetry(Section):
    """Metrics, traces and denial lines."""

    metrics: bool = True
    denials_per_second: int = Field(1, ge=1, le=100_000)
    otlp: Otlp | None = None
    tracing: Tracing = Tracing.model_construct()
