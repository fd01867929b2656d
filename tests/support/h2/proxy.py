"""A real Envoy that asks a Check port before each request, and answers by itself."""

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from authz.cli import binaries
from authz.core.listen_address import Address
from tests.support.real import PATIENCE, PAUSE, free_port

TYPES = "type.googleapis.com/envoy."
HTTP = TYPES + "extensions.filters.http"
H2 = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": TYPES + "extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
}


@contextmanager
def proxy(
    check: Address, *, tls: dict[str, Any] | None = None, tracer: bool = False
) -> Iterator[str]:
    """Run an Envoy with one worker and return its URL.

    tls: a CommonTlsContext for the connection to the Check port.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="authz-") as directory:
        file, log = Path(directory) / "envoy.yaml", Path(directory) / "log"
        file.write_text(yaml.safe_dump(configuration(port, check, tls, tracer)))
        command = [str(binaries.envoy()), "-c", str(file), "--disable-hot-restart"]
        command += ["--concurrency", "1", "--log-level", "warning"]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            _await(port, process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def _await(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"envoy did not start:\n{log.read_text()[-2000:]}")
        time.sleep(PAUSE)


def configuration(port: int, check: Address, tls: dict[str, Any] | None, tracer: bool) -> dict:
    """Return a listener with ext_authz and one route that answers 200."""
    route = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": "ok"}},
    }
    manager: dict[str, Any] = {
        "@type": TYPES
        + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.ext_authz",
                "typed_config": {
                    "@type": HTTP + ".ext_authz.v3.ExtAuthz",
                    "transport_api_version": "V3",
                    "status_on_error": {"code": "ServiceUnavailable"},
                    "grpc_service": {"envoy_grpc": {"cluster_name": "check"}, "timeout": "30s"},
                },
            },
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": HTTP + ".router.v3.Router"},
            },
        ],
    }
    if tracer:
        manager["tracing"] = {
            "provider": {
                "name": "envoy.tracers.opentelemetry",
                "typed_config": {
                    "@type": TYPES + "config.trace.v3.OpenTelemetryConfig",
                    "grpc_service": {"envoy_grpc": {"cluster_name": "collector"}},
                    "service_name": "test",
                },
            }
        }
    listener = {
        "address": _address(Address("127.0.0.1", port)),
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager,
                    }
                ]
            }
        ],
    }
    clusters = [_cluster("check", check, tls), _cluster("collector", Address("127.0.0.1", 1), None)]
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def _cluster(name: str, address: Address, tls: dict[str, Any] | None) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(address)}}
    cluster: dict[str, Any] = {
        "name": name,
        "connect_timeout": "10s",
        "typed_extension_protocol_options": H2,
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    if tls is not None:
        context = TYPES + "extensions.transport_sockets.tls.v3.UpstreamTlsContext"
        cluster["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {"@type": context, "common_tls_context": tls},
        }
    return cluster


def _address(address: Address) -> dict[str, Any]:
    if address.path:
        return {"pipe": {"path": address.path}}
    return {"socket_address": {"address": address.host, "port_value": address.port}}
