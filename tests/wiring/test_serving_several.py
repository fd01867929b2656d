"""`authz serve --processes` gets signals while its processes start, and loses its terminal."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.real import eventually

# Two processes that never answer.
PARENT = """
import sys
from authz.settings.model import load
from authz.wiring import serving_several
directory = sys.argv[1]
silent = "import os, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(str(os.getpid()));"
silent += "sys.stdin.read()"
sections = {name: {"listen": f"unix:{directory}/{name}.sock"} for name in ("check", "ops")}
settings = load(flags=sections, environ={})
command = lambda number, _: [sys.executable, "-c", silent, f"{directory}/{number}"]
serving_several.serve(lambda: settings, 2, command)
"""


def pids(directory: Path) -> list[int]:
    """Return the process ids that the children wrote."""
    texts = [file.read_text() for file in directory.glob("[01]")]
    return [int(text) for text in texts if text]


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGHUP, signal.SIGTERM]])
async def test_a_signal_during_the_start(tmp_path, signals):
    """SIGTERM ends all processes. SIGHUP ends none; it counts once all have started."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)])
    try:
        await eventually(lambda: len(pids(tmp_path)) == 2)
        for number in signals:
            parent.send_signal(number)
        assert parent.wait(30) == 0
        assert [pid for pid in pids(tmp_path) if is_running(pid)] == []
    finally:
        parent.kill()
        parent.wait()


def is_running(pid: int) -> bool:
    """Return whether a process of this id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_closed_terminal_ends_all_processes(tmp_path: Path) -> None:
    """The SIGHUP of a terminal that was closed is no reload: nobody could end the command later."""
    ours, theirs = os.openpty()
    command = ["setsid", "--ctty", sys.executable, "-c", PARENT, str(tmp_path)]
    parent = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    try:
        os.close(theirs)
        await eventually(lambda: len(pids(tmp_path)) == 2)
        os.close(ours)
        assert parent.wait(30) == 0
        assert [pid for pid in pids(tmp_path) if is_running(pid)] == []
    finally:
        parent.kill()
        parent.wait()


async def test_a_killed_parent_takes_its_processes_along(tmp_path: Path) -> None:
    """After SIGKILL of the parent each process reads the end of stdin, and ends."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)])
    await eventually(lambda: len(pids(tmp_path)) == 2)
    parent.kill()
    parent.wait()
    await eventually(lambda: not any(map(is_running, pids(tmp_path))))
