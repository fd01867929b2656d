"""Carry out commands of a version of authz, each in a fork of this process, which has imported it.

An interpreter of its own for each command would import the same modules dozens of times.

PYTHONPATH names the version. A line of stdin is a command, {"words": [...], "text": "..."}, with
the text of its stdin. The answer is a line, {"code": 0, "out": "...", "err": "..."}.
"""

import json
import os
import pkgutil
import sys
import tempfile
from importlib import import_module
from typing import IO

import authz.cli


def carry_out(words: list[str], files: list[IO[str]]) -> None:
    """Run one command as a new process does, with these files as stdin, stdout and stderr."""
    for number, file in enumerate(files):
        os.dup2(file.fileno(), number)
    sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115  until the process ends
    sys.argv = ["authz", *words]
    sys.exit(import_module("authz.cli.main").main())


def main() -> None:
    """Serve until stdin ends."""
    for module in pkgutil.walk_packages(authz.cli.__path__, "authz.cli."):
        import_module(module.name)
    for line in sys.stdin:
        asked = json.loads(line)
        with (
            tempfile.TemporaryFile("w+") as text,
            tempfile.TemporaryFile("w+") as out,
            tempfile.TemporaryFile("w+") as err,
        ):
            text.write(asked["text"])
            for file in (text, out, err):
                file.seek(0)
            child = os.fork()
            if not child:
                carry_out(asked["words"], [text, out, err])
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            for file in (out, err):
                file.seek(0)
            answer = {"code": code, "out": out.read(), "err": err.read()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
