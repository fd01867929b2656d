"""Console blocks of a document: read, run word for word in one shell, and compared.

In what a document shows, times, durations, ports and the like stand for whatever comes, `…` for
anything at all, and a kid for one and the same kid wherever it is shown.
"""

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MARK: Final = "\x1e"  # stands between two commands' output
CHUNK: Final = 65536

BLOCK: Final = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
ESCAPE: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

VARYING: Final = {
    "rest": "…",
    "time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z",
    "request": r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "key": r"ak_(?:live|test)_[0-9A-Za-z_]+",
    "port": r"(?<=127\.0\.0\.1:)\d+",
    "requests": r"\d+(?= allowed between\))",  # before the sidecar has heard of a change
    "duration": r"\d+(?:\.\d+)?(?= ms)",
    "directory": r"/[\w./-]*authz-dev-\w+",
    "kid": r"(?<![0-9A-Za-z])[0-9A-Za-z]{16}(?![0-9A-Za-z])",
}
TOKEN: Final = re.compile("|".join(f"(?P<{kind}>{text})" for kind, text in VARYING.items()))


@dataclass(frozen=True, slots=True)
class Step:
    """A command after a `$ `, and what is shown below it."""

    command: str
    shown: str


def steps(document: str) -> list[Step]:
    """The commands of all console blocks, in their order. A final backslash continues a line."""
    found = []
    for block in BLOCK.findall(document):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, rest = re.fullmatch(r"((?:[^\n]*\\\n)*[^\n]*)\n(.*)", part, re.DOTALL).groups()
            found.append(Step(command, rest.strip("\n")))
    return found


def agree(shown: str, printed: str, kids: dict[str, str]) -> bool:
    """Is this what was printed? `kids`: those of the document that are known, added to."""
    names: list[str] = []

    def varying(token: re.Match[str]) -> str:
        kind, text = token.lastgroup, token[0]
        if kind == "rest":
            return ".*?"
        if kind != "kid":
            return VARYING[kind]
        if text in kids:
            return re.escape(kids[text])
        if text in names:
            return f"(?P=k{names.index(text)})"
        names.append(text)
        return f"(?P<k{len(names) - 1}>{VARYING['kid']})"

    pattern, at = "", 0
    for token in TOKEN.finditer(shown):
        pattern += re.escape(shown[at : token.start()]) + varying(token)
        at = token.end()
    found = re.fullmatch(pattern + re.escape(shown[at:]), printed, re.DOTALL)
    if found:
        kids.update((name, found[f"k{index}"]) for index, name in enumerate(names))
    return bool(found)


def run(
    commands: Sequence[str], directory: Path, environment: Mapping[str, str], seconds: float
) -> list[str]:
    """Return the output of each command on a terminal, in one bash; fewer if the time is over."""
    script = directory / "pasted"
    script.write_text("".join(f"{command}\nprintf '\\036'\n" for command in commands))
    master, terminal = pty.openpty()
    with subprocess.Popen(
        ["bash", "--noprofile", "--norc", script],
        cwd=directory,
        env=environment,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    ) as shell:
        os.close(terminal)
        try:
            printed = _read(master, time.monotonic() + seconds)
        finally:
            shell.kill()
            os.close(master)
            script.unlink()
    return [_plain(text) for text in printed.split(MARK)[:-1]]


def _read(master: int, deadline: float) -> str:
    """All that comes until nobody is at the other end any more, or the time is over."""
    printed = b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([master], [], [], left)[0]:
            break
        try:
            printed += os.read(master, CHUNK)
        except OSError:
            break
    return printed.decode()


def _plain(text: str) -> str:
    """Return the final screen: no colours, and the last state of a line that was redrawn."""
    lines = ESCAPE.sub("", text).replace("\r\n", "\n").strip("\n").split("\n")
    return "\n".join(line.rpartition("\r")[2].rstrip() for line in lines)
