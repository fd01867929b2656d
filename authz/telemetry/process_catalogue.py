"""Metrics of the process itself, by the rules of catalogue.py. Each process of ours has them."""

import platform
from typing import Final

from authz import __version__
from authz.process import hot_path
from authz.telemetry.metric import Kind, Metric, each

BUILD: Final = Metric(
    "authz.build.info",
    Kind.GAUGE,
    "{sidecar}",
    "Always 1. The labels tell the version. `hot_path` is `compiled` or `python`.",
    ({"version": __version__, "python": platform.python_version(), "hot_path": hot_path.form()},),
)
PROCESS_MEMORY: Final = Metric(
    "process.memory.usage", Kind.UP_DOWN, "By", "Resident memory of the sidecar."
)
PROCESS_CPU: Final = Metric(
    "process.cpu.time",
    Kind.COUNTER,
    "s",
    "Processor time of the sidecar. One process uses one core.",
    each(cpu_mode=("user", "system")),
)
PROCESS_UPTIME: Final = Metric(
    "process.uptime", Kind.GAUGE, "s", "Seconds since the sidecar started."
)

PROCESS_METRICS: Final = (BUILD, PROCESS_MEMORY, PROCESS_CPU, PROCESS_UPTIME)
