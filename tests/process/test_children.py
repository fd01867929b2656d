"""Children: several processes that are started, started again and replaced."""

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from authz.core.errors import BadInput
from authz.process import children as module
from authz.process import liveness
from authz.process.children import Children, EndedAtOnce, State, ended
from tests.support.real import eventually

CHILD = """
import os, pathlib, signal, sys
file = pathlib.Path(sys.argv[1])
def end(number, frame):
    file.unlink()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
file.write_text(str(os.getpid()))
sys.stdin.read()
file.unlink()
"""
STUBBORN = """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
time.sleep(60)
"""


STOP_SECONDS = 10.0


class Family:
    """Two children, each with a file that holds its process id while it answers."""

    def __init__(
        self, directory: Path, programs: list[str], stop_seconds: float = STOP_SECONDS
    ) -> None:
        self.files = [directory / str(number) for number in range(len(programs))]
        commands = [
            [sys.executable, "-c", program, str(file)]
            for program, file in zip(programs, self.files, strict=True)
        ]
        self.unready: set[int] = set()  # process ids
        self.children = Children(commands, self.probe, stop_seconds)

    def probe(self, number, _seconds):
        """Implement Probe."""
        try:
            pid = int(self.files[number].read_text())
            os.kill(pid, 0)
        except (OSError, ValueError):
            return None
        return pid not in self.unready, {"pid": pid}

    def pid(self, number: int) -> int:
        """Return the process id of a child that answers, else 0."""
        return (self.children.states[number].components or {"pid": 0})["pid"]


@asynccontextmanager
async def running(directory, programs=(CHILD, CHILD), stop_seconds=10.0):
    """Yield a family that is running."""
    family = Family(directory, list(programs), stop_seconds)
    try:
        await family.children.start()
        yield family
    finally:
        await family.children.stop()


def is_alive(pid: int) -> bool:
    """Return whether a process runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_start_returns_when_each_child_answers_and_stop_ends_all(tmp_path):
    """After `start` all children answer; after `stop` none of them runs."""
    async with running(tmp_path) as family:
        pids = [family.pid(0), family.pid(1)]
        assert all(is_alive(pid) for pid in pids)
        assert all(state.is_ready for state in family.children.states)
    assert not any(is_alive(pid) for pid in pids)


async def test_a_killed_child_starts_again_and_the_other_one_stays(tmp_path, caplog):
    """The log names the signal, and the pause before the next start."""
    async with running(tmp_path) as family:
        first, second = family.pid(0), family.pid(1)
        family.files[0].unlink()
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: family.pid(0) not in {0, first})
        assert family.pid(1) == second
    assert "process 0 was ended by SIGKILL; it starts again in 0.1 s" in caplog.text


async def test_the_pause_doubles_while_a_child_ends_soon(tmp_path, caplog, monkeypatch):
    """A child that ends at each start is not started in a tight loop."""
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.02)
    async with running(tmp_path) as family:
        for _ in range(3):
            await eventually(lambda: family.pid(0))
            pid = family.pid(0)
            family.files[0].unlink()
            os.kill(pid, signal.SIGKILL)
            await eventually(lambda pid=pid: family.pid(0) != pid)
        await eventually(lambda: family.pid(0))
    pauses = [line.split()[-2] for line in caplog.messages if "starts again" in line]
    assert pauses == ["0.02", "0.04", "0.08"]


async def test_a_start_that_the_system_refuses_is_repeated(tmp_path, caplog, monkeypatch):
    """For example if it has no memory or no process left: the child is not given up."""
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.02)
    async with running(tmp_path) as family:
        start, refusals = asyncio.create_subprocess_exec, [OSError(11, "no process left")] * 2

        async def refusing(*arguments, **options):
            if refusals:
                raise refusals.pop()
            return await start(*arguments, **options)

        monkeypatch.setattr(asyncio, "create_subprocess_exec", refusing)
        pid = family.pid(0)
        family.files[0].unlink()
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: family.pid(0) not in {0, pid})
    assert caplog.text.count("process 0 cannot be started: no process left") == 2


async def test_a_first_start_that_the_system_refuses_fails_the_start(tmp_path, monkeypatch):
    """The message says which process and why; it is no bug."""

    async def refusing(*_arguments, **_options):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refusing)
    family = Family(tmp_path, [CHILD])
    with pytest.raises(BadInput, match="process 0 cannot be started: Too many open files"):
        await family.children.start()
    await family.children.stop()


async def test_a_child_that_hangs_delays_no_probe_of_another_one(tmp_path):
    """Also if more children hang than the event loop has threads."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    async with running(tmp_path) as family:
        probe, hanging = family.probe, threading.Event()

        def slow_probe(number, seconds):
            if number == 0:
                hanging.wait(60)
            return probe(number, seconds)

        family.children._probe = slow_probe
        try:
            pid = family.pid(1)
            family.files[1].unlink()
            os.kill(pid, signal.SIGKILL)
            await eventually(lambda: family.pid(1) not in {0, pid})
        finally:
            hanging.set()


async def test_a_child_that_ends_after_its_answer_starts_again_before_the_others_answer(tmp_path):
    """For example one that hangs and is killed. The start goes on when the others answer."""
    family, slow = Family(tmp_path, [CHILD, CHILD]), threading.Event()
    probe = family.probe
    family.children._probe = lambda number, seconds: (
        probe(number, seconds) if number == 0 or slow.is_set() else None
    )
    starting = asyncio.create_task(family.children.start())
    try:
        await eventually(lambda: family.pid(0) or starting.done())
        pid = family.pid(0)
        family.files[0].unlink()
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: family.pid(0) not in {0, pid} or starting.done())
        assert not starting.done()
        slow.set()
        await starting
        assert family.pid(0) not in {0, pid}
    finally:
        await family.children.stop()


async def test_a_child_that_ends_at_its_start_fails_the_start(tmp_path):
    """The fault has its exit status, and `stop` ends the others."""
    family = Family(tmp_path, [CHILD, "import sys; sys.exit(3)"])
    with pytest.raises(EndedAtOnce, match="process 1 ended with status 3 at its start") as found:
        await family.children.start()
    assert found.value.status == 3
    await family.children.stop()
    assert not family.files[0].exists()


async def test_replace_ends_the_next_child_after_the_new_one_is_ready(tmp_path, caplog):
    """While one child is away, the other one is ready."""
    caplog.set_level(logging.INFO)
    async with running(tmp_path) as family:
        before = [family.pid(0), family.pid(1)]
        seen = []

        async def watch():
            while True:
                seen.append(sum(state.is_ready for state in family.children.states))
                await asyncio.sleep(0.01)

        watching = asyncio.create_task(watch())
        await family.children.replace(STOP_SECONDS)
        watching.cancel()
        assert not {family.pid(0), family.pid(1)} & {0, *before}
        assert min(seen) == 1
    assert "all processes are replaced" in caplog.text
    assert "starts again" not in caplog.text


async def test_replace_begins_with_a_child_that_is_not_ready(tmp_path, monkeypatch):
    """The one that is ready stays until then: it may be the only one that serves."""
    monkeypatch.setattr(module, "READY_SECONDS", 0.5)
    async with running(tmp_path) as family:
        first, second = family.pid(0), family.pid(1)
        family.unready.add(second)
        await eventually(lambda: not family.children.states[1].is_ready)
        probe = family.probe
        family.children._probe = lambda number, seconds: (
            found and (number == 0, found[1]) if (found := probe(number, seconds)) else None
        )
        await family.children.replace(STOP_SECONDS)
        await eventually(lambda: family.pid(1))
        assert family.pid(0) == first
        assert family.pid(1) != second


async def test_replace_stops_at_a_child_that_does_not_become_ready(tmp_path, caplog, monkeypatch):
    """The other children keep running as they are."""
    monkeypatch.setattr(module, "READY_SECONDS", 0.3)
    async with running(tmp_path) as family:
        second = family.pid(1)
        probe = family.probe
        family.children._probe = lambda number, seconds: (
            found and (number == 1, found[1]) if (found := probe(number, seconds)) else None
        )
        await family.children.replace(STOP_SECONDS)
        assert family.pid(1) == second
    assert "process 0 is not ready; the others are not replaced" in caplog.text


async def test_a_child_that_ignores_the_signal_is_killed(tmp_path, caplog):
    """After `stop_seconds` it gets SIGKILL."""
    async with running(tmp_path, [STUBBORN], stop_seconds=0.2) as family:
        pid = family.pid(0)
    assert not is_alive(pid)
    assert "process 0 did not end within 0.2 s" in caplog.text


async def test_a_replacement_gives_children_more_time_to_end(tmp_path, caplog):
    """A child that needs longer than the time of the start is not killed then."""
    slow = CHILD.replace("def end(number, frame):", "def end(number, frame):\n    time.sleep(0.5)")
    slow = slow.replace("import os,", "import time, os,")
    async with running(tmp_path, [slow], stop_seconds=0.1) as family:
        await family.children.replace(STOP_SECONDS)
    assert "it is killed" not in caplog.text


async def test_a_child_that_answers_late_is_not_ready_and_stays(tmp_path, monkeypatch):
    """Only long probes get an answer: the child does not hang, and is no help to clients."""
    monkeypatch.setattr(liveness, "PROBE_SECONDS", 0.05)
    async with running(tmp_path, [CHILD]) as family:
        pid, probe, seen = family.pid(0), family.probe, []

        def slow_probe(number, seconds):
            if seconds == liveness.PROBE_SECONDS:
                time.sleep(seconds)
                seen.append(family.children.states[0].is_ready)
                return None
            return probe(number, seconds)

        family.children._probe = slow_probe
        await eventually(lambda: len(seen) > 2 * liveness.LONG_PROBES)
        assert not any(seen[1:])
        assert is_alive(pid)


async def test_children_end_with_their_parent(tmp_path):
    """If the parent is killed, their stdin ends."""
    script = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from tests.process.test_children import CHILD, Family\n"
        "async def main():\n"
        f"    family = Family(Path({str(tmp_path)!r}), [CHILD, CHILD])\n"
        "    await family.children.start()\n"
        "    print('started', flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE
    )
    assert await parent.stdout.readline() == b"started\n"
    parent.kill()
    await parent.wait()
    await eventually(lambda: not any((tmp_path / str(number)).exists() for number in range(2)))


def test_a_state_of_a_child_without_an_answer_is_not_ready():
    """A child has this state before its first answer and after its end."""
    assert State() == State(answers=False, is_ready=False, components=None)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "ended with status 0"),
        (2, "ended with status 2"),
        (-9, "was ended by SIGKILL"),
        (-63, "was ended by signal 63"),
    ],
)
def test_the_end_of_a_process_in_words(status, words):
    """A negative status is a signal."""
    assert ended(status) == words
