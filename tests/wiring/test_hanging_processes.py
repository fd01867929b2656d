"""`authz serve --processes` kills a process that hangs, and starts it again."""

import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.real import Valkey, eventually
from tests.support.serving import PATIENCE, Serving, prepared

# `authz`, with little patience for its processes.
IMPATIENT = """
from functools import partial
from authz.cli.main import main
from authz.wiring import serving_several
serving_several.serve = partial(serving_several.serve, hang_seconds=3.0)
main()
"""


class Impatient(Serving):
    """A command that runs two sidecars, and kills one that does not answer for 3 s."""

    program = ("-c", IMPATIENT)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._stopped: list[int] = []  # descriptors

    def stop(self, number: int) -> None:
        """Stop the process of this number as a debugger does."""
        process = os.pidfd_open(self.pid_of(number))
        self._stopped.append(process)
        signal.pidfd_send_signal(process, signal.SIGSTOP)

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        for process in self._stopped:  # it does not see that the command has ended
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, signal.SIGKILL)
            os.close(process)

    def pids(self) -> list[int]:
        """Return the ids of both processes; 0 for one that does not run."""
        return [self.pid_of(0), self.pid_of(1)]

    def all_ready(self) -> bool:
        """Return whether both processes are ready."""
        components = self.look()[1].get("components", {}).values()
        return len(components) == 2 and all(each["ready"] for each in components)

    def lines(self) -> list[dict[str, Any]]:
        """Return the log lines that are whole, also of the processes, which write meanwhile."""
        found = self.log.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in found if line.startswith("{") and line.endswith("\n")]

    def messages(self) -> list[str]:
        """Return the messages of these lines."""
        return [line["message"] for line in self.lines()]


@pytest.fixture
async def command(tmp_path: Path, valkey: Valkey) -> AsyncIterator[Impatient]:
    """Yield a command that runs two sidecars, both ready."""
    check = {"listen": f"unix:{tmp_path}/check.sock"}
    found = Impatient(tmp_path, valkey, {"check": check}, ["--processes", "2"])
    await prepared(found.file)
    with found:
        await eventually(found.all_ready, PATIENCE)
        yield found


async def test_processes_that_are_stopped_are_replaced(command: Impatient) -> None:
    """Two at once. Each gets SIGKILL, because a stopped process cannot end by itself."""
    before = command.pids()
    for number in range(2):
        command.stop(number)
    await eventually(lambda: not {0, *before} & {*command.pids()}, PATIENCE)
    await eventually(command.all_ready, PATIENCE)
    said = command.messages()
    for number in range(2):
        assert f"process {number} has not answered for 3 s; it is killed" in said
        assert f"process {number} was ended by SIGKILL; it starts again in 0.1 s" in said


async def test_a_log_line_names_its_process(command: Impatient) -> None:
    """A log line of a process has its number as `process`. One of the command has no `process`."""
    starts = "starting 2 processes", "serving Check"
    said = [line for line in command.lines() if line["message"].startswith(starts)]
    assert sorted(line.get("process", "") for line in said) == ["", "0", "1"]


async def test_a_replacement_goes_on_after_a_stopped_process_is_killed(command: Impatient) -> None:
    """SIGTERM does not end a stopped process. It is killed because it hangs; then both are new."""
    before = command.pids()
    command.stop(1)
    command.tell(signal.SIGHUP)
    await eventually(lambda: "all processes are replaced" in command.messages(), PATIENCE)
    said = command.messages()
    assert any(one.startswith("process 1 ") and one.endswith("it is killed") for one in said)
    assert not {0, *before} & {*command.pids()}
    await eventually(command.all_ready, PATIENCE)
