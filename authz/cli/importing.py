"""`authz keys import`: existing keys, as JSON Lines on stdin.

Imported keys stay if the command is interrupted. A second run continues where the first ended.
"""

import asyncio
import contextlib
import io
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from authz.cli import importline
from authz.cli.actor import actor
from authz.cli.administration import load_settings
from authz.cli.invocation import Invocation, common, write_stderr
from authz.cli.options import note_option, path_such_as
from authz.core import fields
from authz.core.errors import BadInput, Fault, Unavailable
from authz.flows.importing import Importer, Outcome, Wanted
from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.wiring import administration

Reader = Callable[[bytes | None], Wanted]

BATCH: Final = 100
MAX_SHOWN: Final = 20
REFUSED: Final = 1
INTERRUPTED: Final = 130


@dataclass(slots=True)
class Report:
    """Counts of the lines so far, and their refusals.

    Each refusal goes to the file `rejects`, if given. `show_refusals` prints the first MAX_SHOWN
    (20). dry_run: nothing is imported.
    """

    dry_run: bool
    rejects: io.FileIO | None = None
    imported: int = 0
    already_there: int = 0
    refused: int = 0
    _shown: list[str] = field(default_factory=list)
    _lines: dict[bytes, int] = field(default_factory=dict, repr=False)  # digest -> line

    def add(self, batch: list[tuple[int, Wanted]], outcomes: list[Outcome]) -> None:
        """Count the outcomes of a batch. A BadInput outcome counts as a refused line.

        Raises Unavailable if the rejects file cannot be written.
        """
        for (line, _), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, BadInput):
                self.refuse(line, outcome)
            elif outcome.already:
                self.already_there += 1
            else:
                self.imported += 1

    def refuse(self, line: int, cause: BadInput) -> None:
        """Count a refused line and append it to the rejects file, if there is one.

        Raises Unavailable if that file cannot be written.
        """
        self.refused += 1
        name = cause.field.replace("-", "_")  # the field of a line for an option of `issue`
        if self.rejects is not None:
            entry = {"line": line, "field": name, "problem": cause.problem}
            _append(self.rejects, json.dumps(entry).encode() + b"\n")
        if self.refused <= MAX_SHOWN:
            self._shown.append(f"line {line}: {name}: {cause.problem}")

    def show_refusals(self) -> None:
        """Print the first MAX_SHOWN (20) refusals to stderr, then how many more there are."""
        for line in self._shown:
            write_stderr(line)
        if self.refused > MAX_SHOWN:
            write_stderr(f"and {self.refused - MAX_SHOWN} more; --rejects FILE has them all")

    def refuse_duplicate(self, line: int, entry: Wanted) -> None:
        """Raise BadInput if an earlier line has the same key; else remember the key's digest."""
        _, digest = next(entry.key.digests())
        first = self._lines.setdefault(digest, line)
        if first != line:
            raise BadInput("key", f"is the same as in line {first}")

    def document(self) -> dict[str, Any]:
        """Return the three counts and dry_run as JSON members."""
        return {
            "imported": self.imported,
            "already_there": self.already_there,
            "refused": self.refused,
            "dry_run": self.dry_run,
        }

    def __str__(self) -> str:
        verb = "would import" if self.dry_run else "imported"
        return f"{verb} {self.imported}, already there {self.already_there}, refused {self.refused}"


@click.command("import")
@click.option(
    "--rejects",
    metavar="FILE",
    callback=path_such_as("rejects.jsonl"),
    help="Write refused lines to this new file, as JSON Lines.",
)
@click.option("--dry-run", is_flag=True, help="Print the counts, and change nothing.")
@note_option
@common
@click.pass_obj
def import_(invocation: Invocation, rejects: str | None, dry_run: bool, note: str) -> None:
    """Import existing keys, from JSON Lines on stdin.

    Callers keep their keys. The store gets only digests. Each line is one object with `key` and
    `client`. It may also hold the options of `issue`: project, tenant, name, env, scope, host,
    origin, cidr, limit (each of these five a list), plan, on_outage, expires_in (default 90d),
    not_before, outage_grace, metadata (an object). A key is 16 to 256 of
    A-Z a-z 0-9 _ . ~ + / = - and works in x-api-key, not after `Authorization: Bearer`.

    Keys that were imported before stay unchanged, so an interrupted import can be run again. Lines
    that cannot be imported are refused one by one. Then the exit code is 1.

    \b
    Examples:
      authz keys import --dry-run < keys.jsonl
      authz keys import --rejects rejects.jsonl --note "from the old gateway" < keys.jsonl
      echo '{"key": "sk-0123456789abcdef", "client": "acme-web"}' | authz keys import
    """
    found = load_settings(invocation)
    source = _stdin()
    with contextlib.ExitStack() as files, asyncio.Runner() as runner:
        refused = files.enter_context(_rejects(rejects)) if rejects is not None else None
        report = Report(dry_run, refused)
        connection = contextlib.AsyncExitStack()
        importing = administration.importing(found, actor(), note)
        importer = runner.run(connection.enter_async_context(importing))
        try:
            code = _run(source, runner, importer, _reader(found), report)
        finally:
            report.show_refusals()
            runner.run(connection.aclose())
    invocation.answer(report.document(), str(report))
    raise click.exceptions.Exit(code)


def _reader(found: Settings) -> Reader:
    """Return the parser of a line for these settings. It uses the wall clock for relative times."""
    keyring, clock = administration.keyring(found), SystemClock()
    return lambda raw: importline.parse(raw, keyring, found.plans, clock.wall_ms())


def _run(
    source: BinaryIO, runner: asyncio.Runner, importer: Importer, read: Reader, report: Report
) -> int:
    """Import all lines and return the exit code.

    It is 0, REFUSED (1) if a line was refused, or INTERRUPTED (130) after Ctrl-C. Raises Fault if
    the store or the rejects file fails; stderr then has the counts so far, if any key was imported
    or there.
    """
    try:
        _feed(source, runner, importer, read, report)
    except KeyboardInterrupt:
        write_stderr("interrupted; run it again to continue")
        return INTERRUPTED
    except Fault:
        if report.imported + report.already_there:
            write_stderr(f"{report}; run it again to continue")
        raise
    return REFUSED if report.refused else 0


def _feed(
    source: BinaryIO, runner: asyncio.Runner, importer: Importer, read: Reader, report: Report
) -> None:
    """Read all lines and import them in batches of BATCH (100). Skip blank lines.

    Bad lines are recorded as refused. Moves the progress bar. Raises Fault if the store or the
    rejects file fails.
    """
    batch: list[tuple[int, Wanted]] = []
    with _progress(source) as bar:
        for number, size, raw in _lines(source):
            try:
                if raw is None or raw.strip():
                    entry = read(raw)
                    report.refuse_duplicate(number, entry)
                    batch.append((number, entry))
            except BadInput as cause:
                report.refuse(number, cause)
            bar.update(size)
            if len(batch) >= BATCH:
                runner.run(_put(importer, batch, report))
                batch = []
        if batch:
            runner.run(_put(importer, batch, report))
        bar.update_min_steps = 1  # show the rest
        bar.update(0)


async def _put(importer: Importer, batch: list[tuple[int, Wanted]], report: Report) -> None:
    """Import a batch, or only check it with --dry-run, and count its outcomes.

    An interrupted batch is completed first, so that the counts are right; then CancelledError is
    raised.
    """
    act = importer.rehearse if report.dry_run else importer.put
    sent = asyncio.create_task(act([entry for _, entry in batch]))  # noqa: RUF006  awaited
    try:
        report.add(batch, await asyncio.shield(sent))
    except asyncio.CancelledError:
        report.add(batch, await sent)
        raise


def _lines(source: BinaryIO) -> Iterator[tuple[int, int, bytes | None]]:
    try:
        yield from importline.lines(source)
    except OSError as cause:
        raise BadInput("stdin", f"{cause.strerror}; give a file, such as < keys.jsonl") from None


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        raise BadInput("stdin", "is closed; give a file, such as < keys.jsonl")
    if sys.stdin.isatty():
        write_stderr("reading keys from the terminal, one JSON object a line; Ctrl-D ends")
    return sys.stdin.buffer


@contextlib.contextmanager
def _rejects(path: str) -> Iterator[io.FileIO]:
    """Yield a new file of mode 0600 for refused lines: it describes keys.

    Remove it if no line was refused. Raises BadInput if the file exists or cannot be created.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        problem = "exists, and is never overwritten"
        raise BadInput("--rejects", f"{fields.shown(path)} {problem}") from None
    except OSError as cause:
        raise BadInput("--rejects", f"{cause.strerror}: {fields.shown(path)}") from None
    with io.FileIO(handle, "w") as file:  # unbuffered: an interrupt loses no line
        try:
            yield file
        finally:
            if not file.tell():
                Path(path).unlink(missing_ok=True)


def _append(file: io.FileIO, line: bytes) -> None:
    end = file.tell()
    try:
        while line:
            line = line[file.write(line) :]
    except OSError as cause:
        file.truncate(file.seek(end))  # remove the incomplete line
        remedy = "imported keys stay: run it again with a new file"
        raise Unavailable(f"--rejects: {cause.strerror}; {remedy}") from None


def _progress(source: BinaryIO) -> Any:
    """Return a progress bar on stderr, hidden if that is not a terminal.

    With a regular, non-empty file as source it is a bar, else the number of bytes.
    """
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    size = None
    with contextlib.suppress(OSError, io.UnsupportedOperation):
        about = os.fstat(source.fileno())
        size = about.st_size if stat.S_ISREG(about.st_mode) else None
    no_length: Iterator[None] = (None for _ in ())  # click needs an iterator without a length
    return click.progressbar(
        None if size else no_length,
        length=size,
        label="importing",
        show_pos=not size,
        bar_template="%(label)s  [%(bar)s]  %(info)s" if size else "%(label)s  %(info)s bytes",
        file=sys.stderr,
        hidden=not is_terminal,
        update_min_steps=importline.MAX_LINE,
    )
