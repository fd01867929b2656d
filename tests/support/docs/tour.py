"""The commands of a page, typed into a shell beside `authz dev`."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.docs.console import Step, run

SECONDS = 100.0


def new_shell() -> dict[str, str]:
    """Return the variables of a user's new shell."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AUTHZ_")}
    return kept | {"AUTHZ_ACTOR": "you@laptop", "TERM": "xterm"}


@contextmanager
def begun(directory: Path, environment: dict[str, str], *options: str) -> Iterator[str]:
    """Run `authz dev`, and yield the text that it prints when everything runs."""
    with subprocess.Popen(
        [f"{sys.prefix}/bin/authz", "dev", "--ephemeral", *options],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as dev:
        lines = []
        for line in dev.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        try:
            yield "".join(lines).strip("\n")
        finally:
            dev.terminate()


def exports(welcome: str) -> str:
    """Return the line of `authz dev` that a user pastes into another shell."""
    (paste,) = re.findall(r"^ *(export .*)$", welcome, re.MULTILINE)
    return paste


def played(page: Sequence[Step], directory: Path, *options: str) -> list[str]:
    """Return the output of each command of a page; fewer if the time is over.

    options: of `authz dev`, which runs beside it. In the shell `authz` is a command.
    """
    environment = new_shell()
    environment["PATH"] = f"{sys.prefix}/bin:{environment['PATH']}"
    with begun(directory, environment, *options) as welcome:
        commands = [exports(welcome), *(step.command for step in page)]
        return run(commands, directory, environment, SECONDS)[1:]
