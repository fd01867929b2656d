"""What grpc.health.v1 can be asked about, whichever transport answers.

A proxy asks about the Check service, a Kubernetes probe about what it is a probe of.
"""

from typing import Final

from authz.rpc.services import CHECK_SERVICE

LIVENESS: Final = "liveness"  # who can answer lives: it depends on nothing
BY_READINESS: Final = ("", CHECK_SERVICE, "readiness")
