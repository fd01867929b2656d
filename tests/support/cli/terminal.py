"""Run commands in this process, for speed, or as separate processes."""

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
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Return the one JSON document on stdout."""
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """Return the one line on stderr of a failed command."""
        assert self.out == ""
        assert self.err.startswith("authz: ")
        assert self.err.endswith("\n")
        line = self.err[:-1]
        assert line.isprintable()
        assert len(line) < 500
        return line


def run(*arguments: str, stdin: bytes | None = None) -> Outcome:
    """Run a command in this process. stdin: the bytes that it reads there."""
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
    """Run a command as a separate process, without a terminal."""
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
    """Return the environment of a command, without settings of this machine."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AUTHZ_")}
    own = {"AUTHZ_REDIS__URL": store, "AUTHZ_ACTOR": "tests", "COLUMNS": "80"}
    return kept | own | {"HOME": str(directory)}
