"""The real Envoy: validation of a file, and envoy.yaml for tests without a sidecar."""

import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from authz.cli import binaries
from authz.cli.child_processes import ChildProcesses
from tests.support.proxy.faults import Config


def validate(file: Path) -> subprocess.CompletedProcess[str]:
    """Run `envoy --mode validate` on a configuration."""
    command = [binaries.envoy(), "--mode", "validate", "--config-path", file]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


@contextmanager
def running(
    whole: dict[str, Any], file: Path, workers: int = 1, *, flush_ms: int = 10_000
) -> Iterator[int]:
    """Write a configuration to `file`, and run Envoy with it. Yield its pid once it is ready.

    flush_ms: after which lines of access logs are written; the default is Envoy's.
    """
    file.write_text(yaml.safe_dump(whole))
    admin = whole["admin"]["address"]["socket_address"]["port_value"]

    def is_ready() -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{admin}/ready", timeout=20).close()
        except OSError:
            return False
        return True

    with ChildProcesses() as children:
        command = [binaries.envoy(), "--config-path", file, "--disable-hot-restart"]
        command += ["--file-flush-interval-msec", str(flush_ms)]
        children.spawn("envoy", [*command, "--concurrency", str(workers)])
        children.wait("envoy", is_ready)
        yield children.pids["envoy"]


def without_authz(admin: int, port: int, behind: int) -> dict[str, Any]:
    """Return envoy.yaml without ext_authz and access log.

    admin, port: its own ports. behind: the port of the backend.
    """
    config = Config()
    del config.manager["http_filters"][0], config.manager["access_log"]
    for route in config.routes:
        route.pop("typed_per_filter_config", None)
    resources = config.whole["static_resources"]
    hosts = config.manager["route_config"]["virtual_hosts"]
    hosts[:] = [host for host in hosts if host["name"] != "tokens"]  # their cluster goes, too
    served = resources["clusters"][-1]
    resources["clusters"] = [served]
    (endpoints,) = served["load_assignment"]["endpoints"]
    (endpoint,) = endpoints["lb_endpoints"]
    endpoint["endpoint"]["address"]["socket_address"]["port_value"] = behind
    listener = resources["listeners"][0]["address"]["socket_address"]
    listener.update(address="127.0.0.1", port_value=port)
    config.whole["admin"]["address"]["socket_address"]["port_value"] = admin
    return config.whole


def manager_of(document: dict[str, Any]) -> dict[str, Any]:
    """Return the HTTP connection manager of an Envoy configuration."""
    listener = document["static_resources"]["listeners"][0]
    return listener["filter_chains"][0]["filters"][0]["typed_config"]
