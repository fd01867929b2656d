"""Metrics, traces and logs of the sidecar."""

from authz.telemetry.counters import Counters
from authz.telemetry.logs import log_to_stderr

__all__ = ["Counters", "log_to_stderr"]
