"""How a pod of the gateway ends: Envoy is drained, then authz, and there is time for both."""

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
from tests.support.proxy.faults import Config
from tests.support.real import free_port

pytestmark = needs_kubectl
PATIENCE = 60.0


def envoy_of_the_gateway() -> dict[str, Any]:
    """Its container."""
    (found,) = pods("standalone")["gateway"]["containers"]
    return found


def hook() -> str:
    """The script that its preStop runs."""
    *shell, script = envoy_of_the_gateway()["lifecycle"]["preStop"]["exec"]["command"]
    assert shell == ["bash", "-c"]
    return script


def test_there_is_time_for_the_end_of_a_pod():
    """Envoy stays for its preStop, in which it drains, and then authz for its delay and drain."""
    command = envoy_of_the_gateway()["command"]
    drain = float(command[command.index("--drain-time-s") + 1])
    wait = float(re.search(r"^sleep (\d+)$", hook(), re.MULTILINE)[1])
    ours = model.Settings().shutdown.delay + DRAIN_SECONDS
    assert drain < wait
    assert wait + ours + 2 < pods("standalone")["gateway"]["terminationGracePeriodSeconds"]


@contextmanager
def backend(going_on: threading.Event) -> Iterator[int]:
    """The port of a server that answers when it is told to."""

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            going_on.wait(PATIENCE)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing to say."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    going_on.set()
    server.shutdown()
    server.server_close()


def without_a_filter(admin: int, port: int, behind: int) -> dict[str, Any]:
    """envoy.yaml, which asks nobody, on these ports."""
    config_of = Config()
    del config_of.manager["http_filters"][0], config_of.manager["access_log"]
    for route in config_of.routes:
        route.pop("typed_per_filter_config", None)
    resources = config_of.whole["static_resources"]
    authz, served = resources["clusters"]
    resources["clusters"].remove(authz)
    (endpoints,) = served["load_assignment"]["endpoints"]
    (endpoint,) = endpoints["lb_endpoints"]
    endpoint["endpoint"]["address"]["socket_address"]["port_value"] = behind
    listener = resources["listeners"][0]["address"]["socket_address"]
    listener.update(address="127.0.0.1", port_value=port)
    config_of.whole["admin"]["address"]["socket_address"]["port_value"] = admin
    return config_of.whole


def said_at(port: int, path: str) -> str:
    """The status and the body of what is answered, or nothing."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
            return f"{answer.status} {answer.read().decode()}"
    except OSError:
        return ""


def test_what_has_begun_is_ended(tmp_path: Path):
    """After preStop a real Envoy takes no more connections, and answers what had come before."""
    admin, port, going_on = free_port(), free_port(), threading.Event()
    file = tmp_path / "envoy.yaml"
    with backend(going_on) as behind, ChildProcesses() as children, ThreadPoolExecutor() as pool:
        file.write_text(yaml.safe_dump(without_a_filter(admin, port, behind)))
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
        children.check_alive()  # it has not ended by itself
