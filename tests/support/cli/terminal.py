"""Runs commands: in this process for speed, or as a user does."""

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from authz.cli.main import main

NO_STORE = "redis://127.0.0.1:1/0"  # nobody listens on tcpmux
AUTHZ = (sys.executable, "-m", "authz.cli.main")
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a command."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Stdout, which is one JSON document."""
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line on stderr of a command that failed."""
        assert self.out == ""
        assert self.err.startswith("authz: ")
        assert self.err.endswith("\n")
        line = self.err[:-1]
        assert line.isprintable()
        assert len(line) < 500
        return line


def run(*arguments: str, stdin: bytes | None = None) -> Outcome:
    """Run a command in this process. stdin: what it reads there, rather than what we would."""
    out, err, ours = io.StringIO(), io.StringIO(), sys.stdin
    if stdin is not None:
        sys.stdin = io.TextIOWrapper(io.BytesIO(stdin), "utf-8")
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(arguments)
    finally:
        sys.stdin = ours
    return Outcome(code, out.getvalue(), err.getvalue())


def execute(*arguments: str | bytes, **options: Any) -> Outcome:
    """Run a command as a process of its own, without a terminal."""
    done = subprocess.run(
        [*AUTHZ, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        start_new_session=True,
        **options,
    )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


def environment(store: str, directory: Path) -> dict[str, str]:
    """Environment variables for commands: none of the machine's that would matter."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AUTHZ_")}
    own = {"AUTHZ_REDIS__URL": store, "AUTHZ_ACTOR": "tests", "COLUMNS": "80"}
    return kept | own | {"HOME": str(directory)}
