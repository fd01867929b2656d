"""The commits that brought objects into a history."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Final, NamedTuple

from authz.process.git_command import GitCommand, temporary_file

MAX_NAMED: Final = 10_000  # objects that one `git log` looks for
LEAST_SHARED: Final = 2000  # commits for each git, of those that search side by side
MAX_PROCESSES: Final = 8
_COMMITS: Final = ("rev-list", "--all", "--reflog", "--reverse")
_CHANGES: Final = (
    *("log", "--no-walk=unsorted", "--stdin", "-m", "--raw", "-t", "--no-abbrev", "--no-renames"),
    *("--no-ext-diff", "--no-textconv", "--format=%H"),
)
# A character of a quoted path: its octal digits, or a letter. Others stand for themselves.
_ESCAPED: Final = re.compile(rb"\\([0-3][0-7]{2}|.)", re.DOTALL)
_LETTERS: Final = bytes.maketrans(b"abfnrtv", b"\a\b\f\n\r\t\v")


class Place(NamedTuple):
    """Where an object came from. commit: the first one that has it. path: its path there."""

    commit: str
    path: str


def first_places(git: GitCommand, oids: Sequence[str]) -> Mapping[str, Place]:
    """Return the first places of these objects. One that no commit has is left out.

    Several git processes share the commits. Raises Unavailable if git fails or the disk is
    full.
    """
    places: dict[str, Place] = {}
    if not oids:
        return places
    with git.output(_COMMITS) as stream:
        commits = stream.read()
    shares = list(_shares(commits))
    for first in range(0, len(oids), MAX_NAMED):
        wanted = oids[first : first + MAX_NAMED]
        words = (*_CHANGES, *(f"--find-object={oid}" for oid in wanted))
        found: dict[str, Place] = {}  # also of objects that replaced these, later than they came
        with ExitStack() as stack:
            streams = []
            for share in shares:
                given = stack.enter_context(temporary_file([share]))
                streams.append(stack.enter_context(git.output(words, given)))
            for stream in streams:
                _add(stream.read().decode("utf-8", "surrogateescape"), found)
        places |= {oid: found[oid] for oid in wanted if oid in found}
    return places


def _shares(commits: bytes) -> Iterator[bytes]:
    """Cut a list of commits into one part for each processor, in its order."""
    line = commits.find(b"\n") + 1
    if not line:
        return
    count = len(commits) // line
    processes = min(len(os.sched_getaffinity(0)), MAX_PROCESSES, count // LEAST_SHARED) or 1
    for number in range(processes):
        begins, ends = count * number // processes, count * (number + 1) // processes
        yield commits[begins * line : ends * line]


def _add(text: str, places: dict[str, Place]) -> None:
    commit = ""
    for line in text.splitlines():
        if not line.startswith(":"):
            commit = line or commit
            continue
        about, _, path = line.partition("\t")
        places.setdefault(about.split(" ")[3], Place(commit, plain_path(path)))


def plain_path(path: str) -> str:
    """Return a path as the file system has it. Git writes some in quotes, as C does."""
    if not path.startswith('"'):
        return path
    raw = _ESCAPED.sub(lambda found: _byte(found[1]), path[1:-1].encode("utf-8", "surrogateescape"))
    return raw.decode("utf-8", "surrogateescape")


def _byte(escape: bytes) -> bytes:
    return bytes((int(escape, 8),)) if escape.isdigit() else escape.translate(_LETTERS)
