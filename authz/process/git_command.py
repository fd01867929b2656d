"""GitCommand: runs git in a repository that is not trusted."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, Final, cast

from authz.core.errors import Unavailable

PIPE: Final = 1024 * 1024  # bytes that are read from git at once
MAX_COMPLAINT: Final = 300  # characters of git's own message
MAX_COMPLAINTS: Final = 64 * 1024  # bytes in which an error is looked for
# Git goes on after these without a folder of objects, or without all alternates. Its other warnings
# are about settings, for example about those in a home that it may not read.
_ERROR: Final = re.compile(r"error:|warning: unable to access '.*info/alternates'")
# The configuration of a repository is not ours: no program of its choice may run.
_SAFE: Final = (
    *("--no-replace-objects", "-c", "log.showSignature=false", "-c", "core.fsmonitor=false"),
    *("-c", "log.showRoot=true", "-c", "core.quotePath=true", "-c", "core.hooksPath=/dev/null"),
    *("-c", "diff.relative=false"),
)


def temporary_file(lines: Iterable[bytes] = ()) -> IO[bytes]:
    """Return a temporary file that holds these lines, at its beginning.

    Raises Unavailable if it cannot be written, for example because the disk is full.
    """
    try:
        with ExitStack() as stack:
            file = stack.enter_context(tempfile.TemporaryFile())
            file.writelines(lines)
            file.seek(0)
            stack.pop_all()
            return file
    except OSError as cause:
        why = f"{cause.strerror}; $TMPDIR chooses another place"
        raise Unavailable(f"a temporary file cannot be written: {why}") from None


class GitCommand:
    """Runs git in a folder. All methods raise Unavailable if git is missing, fails or is killed.

    left_out: the first error after which git went on without a part of the repository, or empty.
    """

    def __init__(self, folder: Path) -> None:
        self._git = ("git", *_SAFE, "-C", os.fspath(folder))
        self._folder = os.fspath(folder)
        self.left_out = ""

    def lines(self, *words: str) -> list[str]:
        """Return the lines that git prints."""
        with self.output(words) as stream:
            text = stream.read()
        return text.decode("utf-8", "surrogateescape").splitlines()

    @contextmanager
    def output(
        self, words: Sequence[str], given: IO[bytes] | None = None
    ) -> Iterator[BufferedReader]:
        """Yield the stream that git prints, and wait for its end. given: a file for its stdin.

        A git that still writes at the end of the block is ended, and any after an exception.
        """
        with temporary_file() as complaints, self._started(words, complaints, given) as git:
            stream = cast("BufferedReader", git.stdout)
            try:
                yield stream
            except BaseException:
                git.terminate()  # it may work for long before it writes
                raise
            finally:
                stream.close()
                code = git.wait()
            complaints.seek(0)
            text = complaints.read(MAX_COMPLAINTS).decode("utf-8", "replace")
            if code:
                raise self._failed(code, text)
            for line in filter(_ERROR.match, text.splitlines()):
                self.leave_out(line)

    def leave_out(self, error: str) -> None:
        """Note in `left_out` that a part of the repository is not read, if it is the first one."""
        self.left_out = self.left_out or error[:MAX_COMPLAINT]

    def _started(
        self, words: Sequence[str], complaints: IO[bytes], given: IO[bytes] | None
    ) -> "subprocess.Popen[bytes]":
        # Git sets GIT_DIR and others for its hooks; they would name another repository.
        kept = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
        set_here = {"LC_ALL": "C", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}
        # Git before 2.39.4 fetches missing objects all the same, by a program of the repository.
        set_here["GIT_ALLOW_PROTOCOL"] = "none"
        try:
            return subprocess.Popen(  # noqa: S603  git, with options of ours
                (*self._git, *words),
                bufsize=PIPE,
                stdin=given or subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                env=kept | set_here,
            )
        except OSError as cause:
            raise Unavailable(f"git cannot be started: {cause.strerror}") from None

    def _failed(self, code: int, complaints: str) -> Unavailable:
        why = complaints[:MAX_COMPLAINT].strip()
        ended = f"was ended by signal {-code}" if code < 0 else f"exited with {code}"
        return Unavailable(f"git in {self._folder} {ended}: {why or 'it said nothing'}")
