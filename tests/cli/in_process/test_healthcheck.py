"""`authz healthcheck`."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from authz.cli.main import MISUSED
from tests.support.real import free_port


class Operations(BaseHTTPRequestHandler):
    """Alive, and not ready."""

    def do_GET(self) -> None:
        """Answer as the operations listener does."""
        alive = self.path == "/healthz"
        body = json.dumps({"status": "ready" if alive else "not_ready"}).encode()
        self.send_response(200 if alive else 503)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base's name
        """Log nothing."""

    def address_string(self) -> str:
        """Return no address: a Unix socket has none."""
        return ""


class UnixServer(socketserver.UnixStreamServer):
    """The same over a Unix socket."""


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    """Serve until the block ends."""
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize(
    ("setting", "options"),
    [
        ("ops: {listen: '%s'}", ()),
        ("admin: {http_listen: '%s'}", ("--of", "admin")),
        ("meter: {ops_listen: '%s'}", ("--of", "meter")),
    ],
)
def test_each_process_is_asked_at_its_address(runner, setting, options, host) -> None:
    """Exit code 0 for a process that is alive, 1 for one that is not ready or not there."""
    port = free_port()
    (runner.directory / "authz.yaml").write_text(setting % f"{host}:{port}")
    ask = ("--config", "authz.yaml", "healthcheck", *options)
    with serving(HTTPServer(("127.0.0.1", port), Operations)):
        assert runner.run(*ask).code == 0
        not_ready = runner.run(*ask, "--ready", "--json")
        found = not_ready.document
        assert (not_ready.code, found["status"], found["said"]) == (1, 503, "not_ready")
    gone = runner.run(*ask)
    assert gone.code == 1
    assert "does not answer" in gone.out


def test_a_unix_socket_is_asked(runner, tmp_path: Path) -> None:
    """The address may be a Unix socket."""
    path = tmp_path / "ops.sock"
    (runner.directory / "authz.yaml").write_text(f"ops: {{listen: 'unix:{path}'}}")
    with serving(UnixServer(str(path), Operations)):
        assert runner.run("--config", "authz.yaml", "healthcheck").code == 0
    assert runner.run("--config", "authz.yaml", "healthcheck").code == 1


def test_an_unknown_process_is_refused(runner) -> None:
    """--of takes one of three names."""
    assert runner.run("healthcheck", "--of", "store").code == MISUSED
