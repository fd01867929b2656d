"""`authz dev` as a user starts it: it shows what runs, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.support.stalls import conclusive

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
        dev.send_signal(number)
        rest, errors = dev.communicate(timeout=PATIENCE)

    assert set(stack) == {
        *("envoy", "check", "ops", "redis", "backend", "key", "kid", "config", "pids")
    }
    assert set(stack["pids"]) == {"store", "sidecar", "envoy", "backend"}
    assert (status, dev.returncode, rest, errors) == (200, 0, "", "")
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


def test_the_demonstration_exits_zero(mark: str, tmp_path: Path) -> None:
    """`--check` shows each promise on one line and exits 0."""

    def play() -> tuple[str, int]:
        with start(mark, tmp_path, "--check") as dev:
            return dev.communicate(timeout=PATIENCE)[0], dev.returncode

    shown, code = conclusive(play, lambda played: played[1] == 0)

    lines = shown.splitlines()
    assert [line for line in lines[:-1] if not line.startswith("ok ")] == []
    assert (lines[-1], len(lines), code) == ("everything held", 9, 0)
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
