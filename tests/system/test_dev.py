"""`authz dev` as a user starts it: it shows what runs, and leaves nothing behind."""

import asyncio
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from authz.cli import devstack
from authz.core.usage.counts import Level
from authz.storage.endpoint import Endpoint
from authz.storage.usage.stored_usage import StoredUsage
from tests.support.real import Valkey, free_port
from tests.support.stalls import conclusive
from tests.support.system import until

MARK = "TEST_RUN_OF"
PATIENCE = 60.0
DEV = [sys.executable, "-m", "authz.cli.main", "dev", "--ephemeral"]


def processes(mark: str) -> list[str]:
    """Return the command lines of live processes with this mark."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return [command for command in found if command]


def start(mark: str, tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start `authz dev` with its directory in tmp_path."""
    environment = os.environ | {MARK: mark, "TMPDIR": str(tmp_path)}
    return subprocess.Popen(
        [*DEV, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def gone(mark: str, tmp_path: Path) -> bool:
    """Wait until neither a process nor a file is left. Return whether that happened."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if not processes(mark) and not list(tmp_path.iterdir()):
            return True
        time.sleep(0.05)
    return False


def asked(stack: dict[str, Any]) -> int:
    """Return the status of a request with the key."""
    request = urllib.request.Request(stack["envoy"], headers={"x-api-key": stack["key"]})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except HTTPError as refused:
        with refused:
            return refused.code


def used_requests(stack: dict[str, Any]) -> int:
    """Return the requests of the key that the meter has counted."""

    async def read() -> int:
        async with Endpoint.parse(stack["redis"]).client() as client:
            day = time.time_ns() // 86_400_000_000_000
            found = await StoredUsage(client).counts(
                stack["kid"], Level.DAY, range(day - 1, day + 1)
            )
        return sum(counts.requests for counts in found.values())

    return asyncio.run(read())


@pytest.fixture
def mark() -> str:
    """A text that no other process has in its environment."""
    return uuid.uuid4().hex


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_in_one_line_what_runs_and_ends_cleanly(
    mark: str, tmp_path: Path, number: signal.Signals
) -> None:
    """--json prints one line. After the signal the exit code is 0 and nothing is left."""
    with start(mark, tmp_path, "--json") as dev:
        assert dev.stdout is not None
        stack = json.loads(dev.stdout.readline())
        status = conclusive(lambda: asked(stack), lambda status: status == 200)
        used = until(lambda: used_requests(stack), lambda found: found > 0)
        dev.send_signal(number)
        rest, errors = dev.communicate(timeout=PATIENCE)

    assert set(stack) == {
        *("envoy", "check", "ops", "redis", "backend", "key", "kid", "config", "pids"),
        *("admin", "meter", "rest", "console", "login", "login_kid", "tokens"),
    }
    assert set(stack["pids"]) == {"store", "sidecar", "meter", "envoy", "backend", "admin"}
    assert stack["admin"].startswith("127.0.0.1:")
    assert stack["rest"].startswith("http://127.0.0.1:")
    assert (status, dev.returncode, rest, errors) == (200, 0, "", "")
    assert used > 0
    assert gone(mark, tmp_path)


@pytest.mark.parametrize("parts", range(1, 6))
def test_killed_half_way_it_leaves_nothing_behind(mark: str, tmp_path: Path, parts: int) -> None:
    """After SIGKILL at any point of the start, all children end."""
    with start(mark, tmp_path) as dev:
        deadline = time.monotonic() + PATIENCE
        while len(processes(mark)) <= parts and time.monotonic() < deadline:
            pass
        dev.kill()
        dev.communicate(timeout=PATIENCE)

    assert gone(mark, tmp_path)


def demonstrated(mark: str, tmp_path: Path) -> tuple[list[str], int]:
    """Return the lines of `--check` and its exit code. A round in a pause is played again."""

    def play() -> tuple[list[str], int]:
        with start(mark, tmp_path, "--check") as dev:
            return dev.communicate(timeout=PATIENCE)[0].splitlines(), dev.returncode

    return conclusive(play, lambda played: played[1] == 0)


def test_the_demonstration_exits_zero(mark: str, tmp_path: Path) -> None:
    """`--check` shows each promise on one line and exits 0."""
    lines, code = demonstrated(mark, tmp_path)

    assert [line for line in lines[:-1] if not line.startswith("ok ")] == []
    assert (lines[-1], len(lines), code) == ("everything held", 9, 0)
    assert gone(mark, tmp_path)


def test_the_llm_gateway_says_what_to_try(mark: str, tmp_path: Path) -> None:
    """The text has requests and lines for the SDKs, with the key and the models that it may use."""
    with start(mark, tmp_path, "--llm") as dev:
        assert dev.stdout is not None
        lines = list(itertools.takewhile(lambda line: "Ctrl-C" not in line, dev.stdout))
        dev.send_signal(signal.SIGTERM)
        assert dev.wait(PATIENCE) == 0

    text = "".join(lines)
    keys = set(re.findall(r"ak_live_[0-9A-Za-z_]+", text))
    assert len(keys) == 1
    for known in ("openai.OpenAI(base_url=", "anthropic.Anthropic(base_url=", "gemini-flash"):
        assert known in text
    assert gone(mark, tmp_path)


def test_a_part_that_ends_is_named(mark: str, tmp_path: Path) -> None:
    """A dead child ends the command with one line that names it, and exit code 3."""
    with start(mark, tmp_path, "--json") as dev:
        assert dev.stdout is not None
        stack = json.loads(dev.stdout.readline())
        os.kill(stack["pids"]["backend"], signal.SIGKILL)
        _, errors = dev.communicate(timeout=PATIENCE)

    assert dev.returncode == 3
    assert errors.startswith("authz: backend ended with status -9")
    assert gone(mark, tmp_path)


@pytest.fixture
def production() -> Iterator[Valkey]:
    """An initialised store of another installation."""
    with Valkey() as store:
        yield store


def test_another_store_is_never_touched(
    mark: str, tmp_path: Path, production: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables of a production store and its keys have no effect on `authz dev`."""
    monkeypatch.setenv("AUTHZ_REDIS__URL", production.url)
    monkeypatch.setenv("AUTHZ_redis__url", production.url)
    monkeypatch.setenv("AUTHZ_KEYS__PREFIX", "prod")
    monkeypatch.setenv("AUTHZ_CONFIG", "/nowhere/authz.yaml")
    connections = production.admin.info("stats")["total_connections_received"]
    lines, code = demonstrated(mark, tmp_path)

    assert [line for line in lines[:-1] if not line.startswith("ok ")] == []
    assert (code, lines[-1]) == (0, "everything held")
    assert production.admin.dbsize() == 0
    assert production.admin.info("stats")["total_connections_received"] == connections


def test_a_store_of_somebody_else_on_the_port_is_refused(mark: str, tmp_path: Path) -> None:
    """A store that takes the port between the check and the start is not used."""
    with Valkey() as other:
        assert not devstack._is_process(other.port, os.getpid())
        assert devstack._is_process(other.port, other.admin.info("server")["process_id"])


def test_routes_plans_and_a_backend_of_ones_own(mark: str, tmp_path: Path) -> None:
    """--config gives rules and limits but no store, and --backend is behind Envoy."""
    directory = tmp_path / "user"
    directory.mkdir()
    file = directory / "authz.yaml"
    file.write_text(
        "routes: [{path: /secret, scopes: 'a:b'}]\n"
        "redis: {url: 'redis://production.invalid:6379/0'}\n"
        "keys: {prefix: prod}\n"
    )
    port = free_port()
    echo = [sys.executable, "-m", "authz.cli.echo", str(port)]
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    with subprocess.Popen(echo) as backend:
        arguments = ("--config", str(file), "--backend", f"http://127.0.0.1:{port}", "--json")
        with start(mark, run_dir, *arguments) as dev:
            stack = json.loads(dev.stdout.readline())
            status = conclusive(lambda: asked(stack), lambda status: status == 200)
            denied = asked(stack | {"envoy": f"{stack['envoy']}/secret"})
            dev.send_signal(signal.SIGINT)
            dev.communicate(timeout=PATIENCE)
        backend.terminate()

    assert (status, denied) == (200, 403)
    assert stack["key"].startswith("ak_live_")
    assert stack["backend"] == f"http://127.0.0.1:{port}"
    assert set(stack["pids"]) == {"store", "sidecar", "meter", "envoy", "admin"}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--redis", "redis://127.0.0.1:1/0"), "leave --redis out"),
        (("--check", "--config", "authz.yaml"), "--check has its own routes"),
        (("--check", "--llm"), "--check has its own routes"),
        (("--llm", "--config", "authz.yaml"), "--llm has its own routes"),
        (("--llm", "--backend", "http://127.0.0.1:1"), "--llm has its own routes"),
        (("--config", "/nowhere/authz.yaml"), "No such file"),
        (("--backend", "https://127.0.0.1:3000"), "--backend: 'https://127.0.0.1:3000'"),
        (("--backend", "http://127.0.0.1:99999"), "--backend: 'http://127.0.0.1:99999'"),
    ],
)
def test_what_cannot_be_used_is_named(
    mark: str, tmp_path: Path, arguments: tuple[str, ...], problem: str
) -> None:
    """Wrong usage gives one line and exit code 2, and nothing is started."""
    with start(mark, tmp_path, *arguments) as dev:
        _, errors = dev.communicate(timeout=PATIENCE)

    assert dev.returncode == 2
    assert problem in errors
    assert gone(mark, tmp_path)
