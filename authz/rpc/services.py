"""Names of the gRPC services that this server offers."""

from typing import Final

from envoy.service.auth.v3 import external_auth_pb2

_SERVICES: Final = external_auth_pb2.DESCRIPTOR.services_by_name

CHECK_SERVICE: Final[str] = _SERVICES["Authorization"].full_name
"""`envoy.service.auth.v3.Authorization`, from its descriptor."""
