"""The service names that grpc.health.v1 knows, for both transports.

A proxy asks about the Check service, a Kubernetes probe about liveness or readiness.
"""

from typing import Final

from authz.rpc.services import CHECK_SERVICE

LIVENESS: Final = "liveness"  # a process that answers is alive
READINESS: Final = "readiness"
BY_READINESS: Final = ("", CHECK_SERVICE, READINESS)
