"""A receiver of Envoy's OpenTelemetry access logs, for tests of the configuration."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio

from authz.rpc.pb.usage.v1.otlp_logs_pb2 import ExportLogsServiceRequest

EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"


class Collector:
    """Keeps the lines of every batch. While `refuses` is set it answers UNAVAILABLE."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.batches: list[int] = []  # the size of each, in bytes
        self.credentials: set[str] = set()  # values of the header authorization
        self.refuses = False
        self.refused = 0

    async def export(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        """Take one batch."""
        sent = dict(context.invocation_metadata() or ())
        self.credentials.add(str(sent.get("authorization", "")))
        if self.refuses:
            self.refused += 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        self.batches.append(len(request))
        for resource in ExportLogsServiceRequest.FromString(request).resource_logs:
            for scope in resource.scope_logs:
                self.lines += [record.body.string_value for record in scope.log_records]
        return b""


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, collector: Collector) -> None:
        self._method = grpc.unary_unary_rpc_method_handler(collector.export)

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """Return the one method that there is."""
        return self._method if call.method == EXPORT else None


@asynccontextmanager
async def collecting(port: int) -> AsyncIterator[Collector]:
    """Run a collector on a loopback port until the block ends."""
    collector = Collector()
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_Handler(collector),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield collector
    finally:
        await server.stop(0)
