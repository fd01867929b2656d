"""The frameworks behind the gate, and the Envoy in front of them: started once, on free ports."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from authz.cli import binaries
from tests.support.real import free_port

HERE = Path(__file__).parent / "backends"
PATIENCE = 120.0  # seconds that all of them may take to start
# Kept between runs; `make clean` removes it.
BUILT = Path(__file__).parents[2] / ".differential"


def lacking() -> str:
    """Say what is needed and not here; empty if nothing is."""
    for module in ("flask", "starlette", "uvicorn", "hpack"):
        try:
            __import__(module)
        except ImportError:
            return f"needs {module} from the test extra"
    if shutil.which("go") is None:
        return "needs go (Debian: golang-go)"
    if shutil.which("node") is None:
        return "needs node and npm (Debian: nodejs npm)"
    if not (BUILT / "node_modules").exists() and shutil.which("npm") is None:
        return "needs npm (Debian: npm)"
    return ""


def build() -> str:
    """Build what has to be built. Return what failed, or empty."""
    BUILT.mkdir(exist_ok=True)
    with contextlib.suppress(subprocess.CalledProcessError):
        _build_servemux()
        _build_express()
        return ""
    return "needs Express from the npm registry, and a Go compiler of 1.22 or newer"


def _build_servemux() -> None:
    binary = BUILT / "servemux"
    sources = list((HERE / "servemux").iterdir())
    if not binary.exists() or any(s.stat().st_mtime > binary.stat().st_mtime for s in sources):
        command = ["go", "build", "-o", str(binary), "."]
        here = os.environ | {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod"}
        subprocess.run(command, cwd=HERE / "servemux", check=True, env=here)


def _build_express() -> None:
    names = ("package.json", "package-lock.json", "app.js")
    if all((BUILT / n).exists() for n in (*names, "node_modules")) and all(
        (BUILT / n).read_bytes() == (HERE / "express" / n).read_bytes() for n in names
    ):
        return
    for name in names:
        shutil.copy(HERE / "express" / name, BUILT / name)
    command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
    try:
        subprocess.run(command, cwd=BUILT, check=True, timeout=PATIENCE)
    except (OSError, subprocess.SubprocessError) as cause:
        shutil.rmtree(BUILT / "node_modules", ignore_errors=True)
        raise subprocess.CalledProcessError(1, command) from cause


@contextlib.contextmanager
def running(gate_port: int) -> Iterator[tuple[dict[str, int], list[str]]]:
    """The ports of Envoy by name, and the names of the backends."""
    ports = {name: free_port() for name in ("flask", "starlette", "servemux", "express")}
    envoy = {name: free_port() for name in ("raw", "normalising")}
    commands: list[list[str | Path]] = [
        [sys.executable, HERE / "flask_app.py", str(ports["flask"])],
        [sys.executable, HERE / "starlette_app.py", str(ports["starlette"])],
        [BUILT / "servemux", str(ports["servemux"])],
        ["node", BUILT / "app.js", str(ports["express"])],
    ]
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as started:
        config = Path(directory) / "envoy.json"
        config.write_text(json.dumps(envoy_config(envoy, ports, gate_port)))
        launch: list[str | Path] = [binaries.envoy(), "--config-path", config]
        commands.append([*launch, "--disable-hot-restart", "-l", "error", "--concurrency", "1"])
        log = started.enter_context((Path(directory) / "log").open("w+b"))
        for command in commands:
            process = subprocess.Popen(command, stdout=log, stderr=log)
            started.callback(_stop, process)
        deadline = time.monotonic() + PATIENCE
        for port in (*ports.values(), *envoy.values()):
            while not _accepts(port):
                if time.monotonic() > deadline:
                    log.seek(0)
                    raise AssertionError(f"not all started:\n{log.read().decode()[-2000:]}")
                time.sleep(0.05)
        yield envoy, list(ports)


def envoy_config(envoy: dict[str, int], backends: dict[str, int], gate: int) -> dict[str, Any]:
    """Two listeners: one that passes paths on as they are, one that normalises as shipped."""
    options: dict[str, dict[str, Any]] = {
        "raw": {},
        "normalising": {
            "normalize_path": True,
            "merge_slashes": True,
            "path_with_escaped_slashes_action": "REJECT_REQUEST",
            "strip_any_host_port": True,
        },
    }
    http2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    gate_cluster = _cluster("gate", gate) | {
        "typed_extension_protocol_options": {
            http2: {
                "@type": f"type.googleapis.com/{http2}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    }
    return {
        "static_resources": {
            "listeners": [_listener(n, envoy[n], more) for n, more in options.items()],
            "clusters": [gate_cluster, *(_cluster(n, port) for n, port in backends.items())],
        }
    }


def _listener(name: str, port: int, options: dict[str, Any]) -> dict[str, Any]:
    filters = "type.googleapis.com/envoy.extensions.filters"
    ask = {
        "@type": f"{filters}.http.ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "grpc_service": {"envoy_grpc": {"cluster_name": "gate"}, "timeout": "20s"},
        "status_on_error": {"code": 503},
    }
    upgrades = [{"upgrade_type": "CONNECT"}]
    by_header = {"cluster_header": "x-backend", "timeout": "20s"}
    matches = [{"connect_matcher": {}}, {"prefix": ""}]
    routes = [{"match": match, "route": by_header} for match in matches]
    manager = {
        "@type": f"{filters}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "upgrade_configs": upgrades,
        # A client learns at once that its request was malformed, and keeps its connection.
        "delayed_close_timeout": "0s",
        "http2_protocol_options": {"override_stream_error_on_invalid_http_message": True},
        "route_config": {"virtual_hosts": [{"name": "a", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {"name": "envoy.filters.http.ext_authz", "typed_config": ask},
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{filters}.http.router.v3.Router"},
            },
        ],
    }
    chain = {"name": "envoy.filters.network.http_connection_manager"}
    return {
        "name": name,
        "address": _address(port),
        "filter_chains": [{"filters": [chain | {"typed_config": manager | options}]}],
    }


def _cluster(name: str, port: int) -> dict[str, Any]:
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}]
    assignment = {"cluster_name": name, "endpoints": endpoints}
    return {"name": name, "connect_timeout": "5s", "load_assignment": assignment}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _accepts(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
