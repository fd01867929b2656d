"""Transcripts: commands, and what each must print.

    # a remark
    % mv authz-pepper-1 elsewhere       a shell command, to set the scene
    $ authz keys show <kid>             a command; <kid> is the last kid that was printed
    $ authz keys verify < key.txt       a command that reads a file
    kid                <kid>            what it prints to stdout
    ! authz: something                  what it prints to stderr
    !api authz: something               the same, over the admin API
    [1]                                 its exit code, when that is not 0

In what is printed, <kid>, <key>, <time>, <fingerprint> and <actor> stand for one of these, and
<dir> for the directory. A <kid> is the same everywhere in a command and its answer. Stdout that
begins with { is compared as JSON.
"""

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.cli.terminal import Outcome

PATTERNS = {
    "<kid>": "(?P<kid>[0-9A-Za-z]{16})",
    "<key>": "[a-z][a-z0-9]+_(?:live|test)_[0-9A-Za-z]{16}_[0-9A-Za-z]{61}",
    "<fingerprint>": "[0-9a-f]{32}",
    "<actor>": r"tests|cert:\S+/sa/cli",
    "<time>": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
}


@dataclass
class Step:
    """One command and its expected output."""

    line: int
    command: str
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)
    err_over_api: list[str] = field(default_factory=list)
    code: int = 0


def read(file: Path) -> list[Step]:
    """Return the steps of a transcript."""
    steps: list[Step] = []
    for number, text in enumerate(file.read_text().splitlines(), start=1):
        if text.startswith(("$ ", "% ")):
            steps.append(Step(number, text))
        elif text.startswith("!api "):
            steps[-1].err_over_api.append(text[5:])
        elif text.startswith("! "):
            steps[-1].err.append(text[2:])
        elif re.fullmatch(r"\[\d+\]", text):
            steps[-1].code = int(text[1:-1])
        elif not text.startswith("#") and steps:
            steps[-1].out.append(text)
    return steps


def play(
    transcript: Path, directory: Path, run: Callable[..., Outcome], *, over_api: bool = False
) -> None:
    """Run a transcript. Fail at the first difference."""
    kid = ""
    for step in read(transcript):
        where = f"{transcript.name}:{step.line}: {step.command}"
        command = step.command[2:].replace("<kid>", kid)
        if step.command.startswith("%"):
            subprocess.run(["sh", "-c", command], cwd=directory, check=True)
            continue
        command, _, file = command.partition(" < ")
        program, *arguments = shlex.split(command)
        assert program == "authz", where
        outcome = run(*arguments, **({"stdin": (directory / file).read_bytes()} if file else {}))
        seen = f"{_plain(outcome.out)}\n--- stderr\n{outcome.err.rstrip()}\n--- exit {outcome.code}"
        if over_api and step.err_over_api:
            step.err = step.err_over_api
        expected = _expected(step).replace("<dir>", str(directory))
        if "<kid>" in step.command:
            expected = expected.replace("<kid>", kid)
        match = re.fullmatch(_pattern(expected), seen)
        assert match, f"{where}\nexpected:\n{expected}\nprinted:\n{seen}"
        kid = match.groupdict().get("kid") or kid


def _expected(step: Step) -> str:
    out, err = "\n".join(step.out).rstrip(), "\n".join(step.err)
    return f"{_plain(out)}\n--- stderr\n{err}\n--- exit {step.code}"


def _plain(out: str) -> str:
    """Return JSON in one form, and other text unchanged."""
    return json.dumps(json.loads(out), indent=2) if out.startswith("{") else out.rstrip()


def _pattern(expected: str) -> str:
    text, *rest = re.split(f"({'|'.join(PATTERNS)})", expected)
    pattern, known = re.escape(text), dict(PATTERNS)
    for name, text in zip(rest[::2], rest[1::2], strict=True):
        pattern += f"(?:{known[name]})" + re.escape(text)
        if name == "<kid>":
            known[name] = "(?P=kid)"
    return pattern
