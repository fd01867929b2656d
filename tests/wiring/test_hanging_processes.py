"""`authz serve --processes` kills a process that hangs, and starts it again."""

import json
import os
import signal
from collections.abc import AsyncIterator
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

    def pids(self) -> list[int]:
        """Return the ids of both processes; 0 for one that does not run."""
        return [self.pid_of(0), self.pid_of(1)]

    def all_ready(self) -> bool:
        """Return whether both processes are ready."""
        components = self.look()[1].get("components", {}).values()
        return len(components) == 2 and all(each["ready"] for each in components)

    def lines(self) -> list[dict[str, Any]]:
        """Return all log lines, also of the processes."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

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
    for pid in before:
        os.kill(pid, signal.SIGSTOP)
    await eventually(lambda: not {0, *before} & {*command.pids()}, PATIENCE)
    await eventually(command.all_ready, PATIENCE)
    said = command.messages()
    for number in range(2):
        assert f"process {number} has not answered for 3 s; it is killed" in said
        assert f"process {number} was ended by SIGKILL; it starts again in 0.1 s" in said


async def test_a_log_line_names_its_process(command: Impatient) -> None:
    """By the label `process` of the metrics. The lines of the command itself name none."""
    said = [line for line in command.lines() if line["message"].startswith("serving Check")]
    assert sorted(line.get("process", "") for line in said) == ["", "0", "1"]


async def test_a_replacement_of_all_gets_past_a_process_that_is_stopped(command: Impatient) -> None:
    """A stopped process does not answer SIGTERM, so it is killed, and the other one follows."""
    before = command.pids()
    os.kill(before[1], signal.SIGSTOP)
    command.tell(signal.SIGHUP)
    await eventually(lambda: "all processes are replaced" in command.messages(), PATIENCE)
    assert not {0, *before} & {*command.pids()}
    await eventually(command.all_ready, PATIENCE)
