"""Termination of a gateway pod: Envoy drains, then authz, with enough time for both."""

import re
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from authz.cli import binaries
from authz.cli.child_processes import ChildProcesses
from authz.settings import model
from authz.wiring.sidecar import DRAIN_SECONDS
from tests.support.deploy.manifests import needs_kubectl, pods
from tests.support.proxy.envoys import without_authz
from tests.support.real import free_port

pytestmark = needs_kubectl
PATIENCE = 60.0


def envoy_of_the_gateway() -> dict[str, Any]:
    """Return the container of Envoy."""
    (found,) = pods("standalone")["gateway"]["containers"]
    return found


def hook() -> str:
    """Return the script of the preStop hook."""
    *shell, script = envoy_of_the_gateway()["lifecycle"]["preStop"]["exec"]["command"]
    assert shell == ["bash", "-c"]
    return script


def test_there_is_time_for_the_end_of_a_pod():
    """The grace period covers the preStop hook of Envoy, then the delay and drain of authz."""
    command = envoy_of_the_gateway()["command"]
    drain = float(command[command.index("--drain-time-s") + 1])
    wait = float(re.search(r"^sleep (\d+)$", hook(), re.MULTILINE)[1])
    ours = model.Settings().shutdown.delay + DRAIN_SECONDS
    assert drain < wait
    assert wait + ours + 2 < pods("standalone")["gateway"]["terminationGracePeriodSeconds"]


@contextmanager
def backend(going_on: threading.Event) -> Iterator[int]:
    """Yield the port of a server that answers once the event is set."""

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            going_on.wait(PATIENCE)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    going_on.set()
    server.shutdown()
    server.server_close()


def said_at(port: int, path: str) -> str:
    """Return status and body of the response, or an empty string if there is none."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
            return f"{answer.status} {answer.read().decode()}"
    except OSError:
        return ""


def test_a_request_in_flight_is_completed(tmp_path: Path):
    """After preStop a real Envoy accepts no connection and completes requests in flight."""
    admin, port, going_on = free_port(), free_port(), threading.Event()
    file = tmp_path / "envoy.yaml"
    with backend(going_on) as behind, ChildProcesses() as children, ThreadPoolExecutor() as pool:
        file.write_text(yaml.safe_dump(without_authz(admin, port, behind)))
        command = [binaries.envoy(), "--config-path", file, "--disable-hot-restart"]
        children.spawn("envoy", [*command, "--concurrency", "1", "--drain-time-s", "1"])
        children.wait("envoy", lambda: said_at(admin, "/ready").startswith("200"))
        begun = pool.submit(said_at, port, "/")
        active = "/stats?filter=^http.ingress.downstream_rq_active$"
        children.wait("envoy", lambda: said_at(admin, active).strip().endswith(": 1"))
        script = re.sub(r"^sleep .*", "", hook().replace("9901", str(admin)), flags=re.MULTILINE)
        done = subprocess.run(
            ["bash", "-c", script], check=True, capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.stdout.startswith("HTTP/1.1 200")
        children.wait("envoy", lambda: not said_at(port, "/healthz"))
        assert not begun.done()
        going_on.set()
        assert begun.result(PATIENCE).startswith("200")
        children.check_alive()  # fails if Envoy exited
