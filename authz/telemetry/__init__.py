"""What the sidecar says about itself: metrics, traces, logs."""

from authz.telemetry.counters import Counters
from authz.telemetry.logs import log_to_stderr

__all__ = ["Counters", "log_to_stderr"]
