"""A receiver of usage records, and a stranger's sidecar that counts the Checks that reach it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from grpc_health.v1 import health_pb2

from authz.rpc.pb.usage.v1.otlp_logs_pb2 import ExportLogsServiceRequest

SERVING = health_pb2.HealthCheckResponse(
    status=health_pb2.HealthCheckResponse.SERVING
).SerializeToString()


class Receiver(grpc.GenericRpcHandler):
    """Takes every call. lines: of the usage records. calls: how many came beside health checks."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.calls = 0

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Return the handler of any method."""
        is_usage = call.method.endswith("LogsService/Export")
        is_health = call.method == "/grpc.health.v1.Health/Check"

        def take(request: bytes, _context: grpc.ServicerContext) -> bytes:
            if is_health:
                return SERVING
            self.calls += 1
            if is_usage:
                for resource in ExportLogsServiceRequest.FromString(request).resource_logs:
                    for scope in resource.scope_logs:
                        self.lines += [one.body.string_value.decode() for one in scope.log_records]
            return b""  # of a Check: status OK, so a stranger's answer would let the request pass

        return grpc.unary_unary_rpc_method_handler(take)


@contextmanager
def receiving(path: str) -> Iterator[Receiver]:
    """Run a receiver on a Unix socket."""
    receiver = Receiver()
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((receiver,))
    server.add_insecure_port(f"unix:{path}")
    server.start()
    try:
        yield receiver
    finally:
        server.stop(0)
