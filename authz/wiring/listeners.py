"""The listeners of a sidecar: Check for Envoy, and operations for probes and metrics."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from authz import __version__
from authz.console.operations import MetricsPage, OperationsServer
from authz.core.listen_address import Address
from authz.core.ports import Probe
from authz.process.listener import ConnectionLimits, TlsFiles
from authz.process.readiness import ReadinessReport
from authz.rpc.check.handler import CheckHandler
from authz.rpc.h2.server import FastServer
from authz.settings.model import Settings

if TYPE_CHECKING:
    from authz.rpc.grpcio import GrpcServer

PROBE_LIMITS: Final = ConnectionLimits(streams=8, message_bytes=4096, idle_seconds=10.0)


def check_server(
    settings: Settings, handler: CheckHandler, probe: Probe
) -> "FastServer | GrpcServer":
    """Return the Check listener, bound but not yet started.

    Raises BadInput if the address, TLS or plaintext is refused. probe: unused with grpcio.
    """
    check, tls = settings.check, settings.check.tls
    serve = _grpc_server if check.transport == "grpcio" else partial(FastServer, probe=probe)
    return serve(
        handler,
        check.listen,
        limits=ConnectionLimits(
            streams=check.max_streams,
            header_bytes=check.max_header_bytes,
            message_bytes=check.max_message_bytes,
            idle_seconds=check.idle_timeout,
            flood_tolerance=check.flood_tolerance,
        ),
        tls=TlsFiles(tls.cert, tls.key, tls.client_ca) if tls else None,
        allow_plaintext=check.allow_plaintext,
        socket_mode=check.socket_mode,
        traced=settings.telemetry.tracing.enabled,
    )


def _grpc_server(handler: CheckHandler, address: Address, **options: Any) -> "GrpcServer":
    from authz.rpc.grpcio import GrpcServer  # noqa: PLC0415  grpcio takes 10 MB, which `fast` saves

    return GrpcServer(handler, address, **options)


@asynccontextmanager
async def operations(
    settings: Settings, readiness: ReadinessReport, probe: Probe, metrics: MetricsPage | None
) -> AsyncIterator[Address]:
    """Serve health and metrics until the block ends. Yield the address. Raises BadInput.

    metrics: None serves no metrics. With `ops.health_listen` there is a second listener, for
    grpc.health.v1. A kubelet probes the address of the pod, where Check may not listen. It is in
    plaintext, because it takes no keys.
    """
    server = OperationsServer(settings.ops.listen, __version__, settings.ops.socket_mode)
    health_address = settings.ops.health_listen
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop)
        if health_address is not None:
            health = FastServer(
                None,
                health_address,
                probe=probe,
                limits=PROBE_LIMITS,
                allow_plaintext=True,
                socket_mode=settings.ops.socket_mode,
                setting="ops.health_listen",
            )
            stack.push_async_callback(health.stop, 0)
            await health.start()
            stack.callback(asyncio.create_task(health.show(readiness)).cancel)
        server.report(readiness.report)
        server.publish(metrics)
        await server.start()
        yield server.address
