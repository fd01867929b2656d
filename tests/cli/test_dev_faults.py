"""`authz dev` where it cannot run: it says why, touches no file of the user, and starts nothing."""

import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from authz.cli import binaries, dev, devstack
from authz.cli.devconfig import Backend, refuse_other_listeners, write_settings
from authz.core.errors import BadInput, Unavailable
from authz.settings import model

MINE = {"authz.yaml": "log: {level: INFO}\n", "pepper-1": "m" * 64}
PATIENCE = 60.0
LISTENERS = {
    "check": {"listen": 1},
    "ops": {"listen": 2},
    "meter": {"listen": 3, "ops_listen": 4},
    "admin": {"listen": 5, "http_listen": 6},
}


def limited(size: int) -> Callable[[], None]:
    """Return what makes each file of a process at most so long, as a full disk does."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@contextmanager
def answering(status: int) -> Iterator[str]:
    """An HTTP server that gives each request this status. Yield its URL."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A directory with settings and a pepper of the user, under the names of the first steps."""
    for name, text in MINE.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def ended(directory: Path, *arguments: str, size: int = -1, **environ: str) -> tuple[int, str]:
    """Run `authz dev` there until it ends. Return its exit code and stderr.

    size: the most bytes of a file; -1: any. environ: more variables.
    """
    command = [sys.executable, "-m", "authz.cli.main", "dev", "--ephemeral", *arguments]
    done = subprocess.run(
        command,
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())} | environ,
        preexec_fn=limited(size) if size >= 0 else None,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.mark.parametrize("size", [0, 10, 100])
def test_a_full_disk(mine: Path, size: int) -> None:
    """The command ends with one line and code 3. Files of the user keep their content."""
    code, errors = ended(mine, size=size)
    assert (code, errors.count("\n")) == (3, 1), errors
    assert errors.startswith("authz: ")
    assert "bug" not in errors
    assert {path.name: path.read_text() for path in mine.iterdir()} == MINE


def test_a_program_that_may_not_be_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the program, and no other place for temporary files: that would not help."""
    program = tmp_path / "envoy"
    program.write_text("no program")
    monkeypatch.setattr(binaries, "envoy", lambda: program)
    with pytest.raises(Unavailable) as failed, devstack.running(devstack.Ports.free()):
        raise AssertionError
    assert str(failed.value) == f"{program} cannot be run: Permission denied"


@pytest.mark.parametrize("proxy", ["http_proxy", "all_proxy", "ALL_PROXY", "https_proxy", ""])
def test_the_demo_key_is_sent_to_no_proxy(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    """Each curl command says so if curl takes a proxy from the environment."""
    for name in ("http_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    if proxy:
        monkeypatch.setenv(proxy, "http://127.0.0.1:1")
    urls = dict.fromkeys(("envoy", "check", "meter", "ops", "redis", "backend"), "http://a")
    stack = devstack.Stack(**urls, key="ak_", kid="k", config="c", pids={})
    for tries, count in ((dev._tries(stack), 4), (dev._tries_of_llm(stack), 2)):
        lines = [line for line in tries.splitlines() if "curl " in line]
        assert len(lines) == count
        has_option = ["--noproxy '*' http://a/" in line for line in lines]
        assert has_option == [proxy not in ("https_proxy", "")] * count


def test_settings_are_never_written_over_others(mine: Path) -> None:
    """The settings and the pepper of the demonstration are new files, or there is an error."""
    with pytest.raises(FileExistsError):
        write_settings(mine, LISTENERS, 7, {}, gateway=8)
    (mine / "pepper-1").unlink()
    with pytest.raises(FileExistsError):
        write_settings(mine, LISTENERS, 7, {}, gateway=8)
    assert (mine / "authz.yaml").read_text() == MINE["authz.yaml"]


@pytest.mark.parametrize(
    ("variable", "text", "field"),
    [
        ("AUTHZ_CHECK__LISTEN", "0.0.0.0:9191", "check.listen"),
        ("AUTHZ_OPS__LISTEN", "0.0.0.0:9192", "ops.listen"),
        ("AUTHZ_OPS", '{"listen": "0.0.0.0:9192"}', "ops.listen"),
        ("AUTHZ_OPS__HEALTH_LISTEN", "0.0.0.0:9197", "ops.health_listen"),
        ("AUTHZ_METER__LISTEN", "127.0.0.1:9195", "meter.listen"),
        ("AUTHZ_METER__OPS_LISTEN", "[::]:9196", "meter.ops_listen"),
        ("AUTHZ_ADMIN__LISTEN", "127.0.0.1:9193", "admin.listen"),
        ("AUTHZ_ADMIN__HTTP_LISTEN", "127.0.0.1:9194", "admin.http_listen"),
    ],
)
def test_addresses_of_another_installation(
    tmp_path: Path, variable: str, text: str, field: str
) -> None:
    """An address that the environment gives is refused: other machines could reach the demo."""
    file = write_settings(tmp_path, LISTENERS, 7, {}, gateway=8)
    with pytest.raises(BadInput, match="unset it in the environment") as refused:
        refuse_other_listeners(model.load(file, environ={variable: text}), LISTENERS)
    assert refused.value.field == field


@pytest.mark.parametrize("text", ["127.0.0.1:7777", "[::1]:7777", "unix:/run/authz/check.sock"])
def test_the_sidecar_may_listen_elsewhere_on_this_machine(tmp_path: Path, text: str) -> None:
    """Envoy follows `check.listen`, so it may be a Unix socket, for example."""
    file = write_settings(tmp_path, LISTENERS, 7, {}, gateway=8)
    refuse_other_listeners(model.load(file, environ={}), LISTENERS)
    environ = {"AUTHZ_CHECK__LISTEN": text}
    refuse_other_listeners(model.load(file, environ=environ), LISTENERS)


def test_an_address_of_the_environment_starts_nothing(mine: Path) -> None:
    """The command names the setting and ends with code 2."""
    code, errors = ended(mine, AUTHZ_OPS__LISTEN="0.0.0.0:9192")
    assert code == 2
    assert errors.startswith("authz: ops.listen: 0.0.0.0:9192: ")


@pytest.mark.parametrize(
    "url",
    [
        *("http://..", "http://-", "http://a..b", "http://-a", "http://a-", "http://.a"),
        *("http://1.2.3", "http://999.1.1.1", "http://0x7f.1", "http://127.1", "http://2130706433"),
        *("http://[1:2:3:4:5:6:7:8:9]", "http://[::1", "http://[:]", "http://[1.2.3.4]"),
        *("http://" + "a" * 64, "http://" + "a." * 127 + "aa", "http://a:", "http://a:1:2"),
        *("https://a", "ftp://a", "unix:/x", "http://a/b", "http://a?b", "http://a#b", "a:1", ""),
        *("http://a:65536", "http://a:0", "http://a:+1", "http://a:1\n", "http://é"),
    ],
)
def test_a_backend_that_no_server_has(url: str) -> None:
    """An URL whose host is neither a name nor an address is refused before anything starts."""
    with pytest.raises(BadInput, match="an http URL, such as"):
        Backend.parse(url)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://localhost:3000", "http://localhost:3000"),
        (
            "http://my_service.default.svc.cluster.local.",
            "http://my_service.default.svc.cluster.local.:80",
        ),
        ("http://3scale.example:1/", "http://3scale.example:1"),
        ("http://127.0.0.1", "http://127.0.0.1:80"),
        ("http://[::1]:65535", "http://[::1]:65535"),
        ("http://[::ffff:1.2.3.4]:1", "http://[::ffff:1.2.3.4]:1"),
    ],
)
def test_a_backend(url: str, text: str) -> None:
    """Names of services, with underscores too, and addresses are backends."""
    assert str(Backend.parse(url)) == text


@pytest.mark.parametrize(
    "url", ["http://me:hunter2@a:1", "https://hunter2@a", "http://a@hunter2@b"]
)
def test_a_password_in_a_backend_is_not_printed(url: str) -> None:
    """The error shows no user and no password of a URL: output of commands is kept in logs."""
    with pytest.raises(BadInput, match="without user and password") as refused:
        Backend.parse(url)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("status", [200, 503])
def test_a_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """Our processes are asked directly: a proxy of the company does not reach this machine."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with answering(status) as url:
        assert devstack._answers(f"{url}/readyz") is (status == 200)
    assert not devstack._answers(f"{url}/readyz")
