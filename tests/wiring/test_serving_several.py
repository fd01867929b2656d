"""`authz serve --processes` gets signals, loses its terminal, and asks processes that hang."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from authz.core.errors import BadInput
from authz.process.ending import Ending
from authz.settings.model import Settings, load
from authz.wiring import serving_several
from tests.support.real import Valkey, eventually
from tests.support.serving import Serving

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


class Replaced:
    """Children whose replacement takes until `done` is set; counts them."""

    def __init__(self) -> None:
        self.count = 0
        self.done = asyncio.Event()
        self.stop_seconds = 0.0

    async def replace(self, stop_seconds: float) -> None:
        """Implement Children.replace."""
        self.count += 1
        self.stop_seconds = stop_seconds
        await self.done.wait()


async def hung_up(children: Replaced, check, times: int) -> None:
    """Send SIGHUP to this process, once all processes have started, and wait for the effects."""
    loop = asyncio.get_running_loop()
    starting = asyncio.create_task(asyncio.sleep(0))
    running = serving_several._listen_for_hangup(check, children, starting, Ending())
    try:
        os.kill(os.getpid(), signal.SIGHUP)
        await eventually(lambda: children.count)
        for _ in range(times - 1):
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0.01)
        children.done.set()
        await eventually(lambda: not running)
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


async def test_many_hangups_during_a_replacement_cause_one_more() -> None:
    """The second replacement begins after the last SIGHUP, and reads the settings of then."""
    children = Replaced()
    await hung_up(children, Settings, times=10)
    assert children.count == 2


async def test_processes_that_are_replaced_get_the_time_of_the_new_settings_to_end() -> None:
    """Their `shutdown.delay` may be longer than that of the settings at the start."""
    children = Replaced()
    settings = load(flags={"shutdown": {"delay": "90s"}}, environ={})
    await hung_up(children, lambda: settings, times=1)
    assert children.stop_seconds > 90


def test_a_hangup_keeps_the_listeners_of_the_parent(caplog) -> None:
    """New addresses for Envoy are compared with those that the parent has, not with new ones."""

    def given(check: str, ops: str) -> Settings:
        return load(flags={"check": {"listen": check}, "ops": {"listen": ops}}, environ={})

    started = given("127.0.0.1:9195", "127.0.0.1:9192")
    with pytest.raises(BadInput, match=r"127\.0\.0\.1:9192 would be that of process 2"):
        serving_several.read_again(
            lambda: given("127.0.0.1:9190", "127.0.0.1:9300"), started, processes=3
        )
    usable = given("127.0.0.1:9195", "127.0.0.1:9300")
    assert serving_several.read_again(lambda: usable, started, processes=3) is usable
    assert "ops.listen has changed; restart the command for it" in caplog.text


async def test_a_replacement_that_waited_reads_the_settings_when_its_turn_comes(caplog) -> None:
    """If they have a mistake by then, no process is replaced: the new ones could not start."""
    children = Replaced()

    def check() -> Settings:
        if children.done.is_set():
            raise BadInput("--config", "it is empty")
        return Settings()

    await hung_up(children, check, times=2)
    assert children.count == 1
    assert "the processes are not replaced: --config: it is empty" in caplog.text


def test_processes_that_hang_delay_the_metrics_of_the_others_once(tmp_path, monkeypatch) -> None:
    """Not once for each: Prometheus gives a scrape 10 s, and would get nothing at all.

    Each of them counts as not ready.
    """
    monkeypatch.setattr(serving_several, "PAGE_SECONDS", 0.5)
    paths = [str(tmp_path / f"{number}.sock") for number in range(8)]
    with ExitStack() as stack:
        for path in paths:
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(path)
            listener.listen()
        began = time.monotonic()
        page, _ = serving_several.metrics_of(paths)("")
        assert time.monotonic() - began < 2.0
    ready = [line for line in page.decode().splitlines() if not line.startswith("#")]
    assert ready == [f'authz_ready{{process="{number}"}} 0.0' for number in range(8)]


async def test_a_process_whose_parent_ended_leaves_its_addresses_at_once(
    tmp_path: Path, valkey: Valkey
) -> None:
    """Its `shutdown.delay` would keep the next parent from starting."""
    sidecar = Serving(
        tmp_path, valkey, {"shutdown": {"delay": "30s"}}, options=["--as-process", "0"]
    )
    ours, theirs = os.pipe()
    stdin = os.dup(0)
    try:
        os.dup2(ours, 0)
        with sidecar:
            os.dup2(stdin, 0)
            await eventually(lambda: sidecar.look("/healthz")[0] == 200)
            os.close(theirs)
            await eventually(sidecar.has_ended, 15.0)
    finally:
        os.dup2(stdin, 0)
        for end in (stdin, ours):
            os.close(end)
