"""Child processes that end when their owner ends, also by SIGKILL."""

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self, cast

from authz.core.errors import Unavailable
from authz.process.own_python import command_of

START_SECONDS = 20.0
STOP_SECONDS = 5.0
POLL_SECONDS = 0.02


class ChildProcesses:
    """Child processes with a log file each in `directory`; leaving the `with` block ends them all.

    A process gets SIGTERM, then SIGKILL after STOP_SECONDS (5 s). The directory is removed too. The
    constructor makes it and starts a guard process; it raises Unavailable if that is not possible.
    environ: the environment variables of the processes; by default those of this process.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = environ
        self._guard = subprocess.Popen(  # noqa: S603  our own command
            command_of("authz.cli.process_guard"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        answer = cast("IO[str]", self._guard.stdout)
        directory = answer.readline().strip()
        if not directory:
            why = answer.readline().strip()
            self._guard.communicate()
            raise Unavailable(
                f"no directory for temporary files: {why}; set $TMPDIR to a usable one"
            )
        self.directory = Path(directory)
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def pids(self) -> dict[str, int]:
        """Return the process ids by name, also of processes that have ended."""
        return {name: child.pid for name, child in self._children.items()}

    def spawn(self, name: str, command: Sequence[str | Path]) -> None:
        """Start a process without waiting for it. Its stdout and stderr go to `directory/NAME.log`.

        Raises OSError if the log cannot be written, Unavailable if the command cannot be run.
        """
        with self.log(name).open("wb") as output:
            try:
                self._children[name] = subprocess.Popen(  # noqa: S603  our own commands
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=self._environ,
                    process_group=self._guard.pid,
                )
            except OSError as cause:
                raise Unavailable(f"{command[0]} cannot be run: {cause.strerror}") from None

    def log(self, name: str) -> Path:
        """Return the path of the log file of a process, `directory/NAME.log`; it need not exist."""
        return self.directory / f"{name}.log"

    def wait(self, name: str, ready: Callable[[], bool]) -> None:
        """Wait until `ready` returns True; it is called every POLL_SECONDS (0.02 s).

        Raises Unavailable after START_SECONDS (20 s), or if any child has ended. `name` is only for
        the message, which has the last line of that log.
        """
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            self.check_alive()
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"{name} is not ready after {START_SECONDS:g} s{self._last_line(name)}"
                )
            time.sleep(POLL_SECONDS)

    def check_alive(self) -> None:
        """Raise Unavailable if any child has ended, with its exit status and its last log line."""
        for name, child in self._children.items():
            if child.poll() is not None:
                raise Unavailable(
                    f"{name} ended with status {child.returncode}{self._last_line(name)}"
                )

    def _last_line(self, name: str) -> str:
        try:
            lines = self.log(name).read_text(errors="replace").split("\n")
        except OSError:
            return ""
        last = next((line for line in reversed(lines) if line.strip()), "")
        return f"; its last log line: {last[:300]}" if last else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for child in reversed(self._children.values()):
            child.terminate()
        for child in reversed(self._children.values()):
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._guard.communicate("all children have ended\n")
