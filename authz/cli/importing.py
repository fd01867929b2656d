"""`authz keys import`: keys that exist elsewhere, as JSON Lines on stdin.

What was imported stays, whatever ends the command: running it again goes on where it ended.
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
    """What became of the lines so far. Refusals go to `rejects`, the first also to stderr."""

    dry_run: bool
    rejects: io.FileIO | None = None
    imported: int = 0
    already_there: int = 0
    refused: int = 0
    _shown: list[str] = field(default_factory=list)
    _lines: dict[bytes, int] = field(default_factory=dict, repr=False)  # digest -> line

    def add(self, batch: list[tuple[int, Wanted]], outcomes: list[Outcome]) -> None:
        """What became of a batch."""
        for (line, _), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, BadInput):
                self.refuse(line, outcome)
            elif outcome.already:
                self.already_there += 1
            else:
                self.imported += 1

    def refuse(self, line: int, cause: BadInput) -> None:
        """A line is not imported. Raises Unavailable when there is no room to say so."""
        self.refused += 1
        name = cause.field.replace("-", "_")  # of an option of `issue`, as it stands in a line
        if self.rejects is not None:
            entry = {"line": line, "field": name, "problem": cause.problem}
            _append(self.rejects, json.dumps(entry).encode() + b"\n")
        if self.refused <= MAX_SHOWN:
            self._shown.append(f"line {line}: {name}: {cause.problem}")

    def tell(self) -> None:
        """Show what was refused to the person who watches."""
        for line in self._shown:
            write_stderr(line)
        if self.refused > MAX_SHOWN:
            write_stderr(f"and {self.refused - MAX_SHOWN} more; --rejects FILE has them all")

    def once(self, line: int, wanted: Wanted) -> None:
        """Raises BadInput when an earlier line has the same key."""
        _, digest = next(wanted.key.digests())
        first = self._lines.setdefault(digest, line)
        if first != line:
            raise BadInput("key", f"is the same as in line {first}")

    def document(self) -> dict[str, Any]:
        """The report for a machine."""
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
    help="Write what was refused to this new file, as JSON Lines.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@note_option
@common
@click.pass_obj
def import_(invocation: Invocation, rejects: str | None, dry_run: bool, note: str) -> None:
    """Import keys that exist elsewhere, from JSON Lines on stdin.

    Callers keep their keys; the store gets digests only. Each line is one object with `key` and
    `client`, and what else `issue` has options for: project, tenant, name, env, scope, host,
    origin, cidr, limit (each of these five a list), plan, on_outage, expires_in (90d unless it
    says so), not_before, outage_grace, metadata (an object). A key is 16 to 256 of
    A-Z a-z 0-9 _ . ~ + / = - and works in x-api-key, not after `Authorization: Bearer`.

    What is in the store already is left as it is, so an import that was stopped can be run again.
    Lines that cannot be imported are refused one by one; then the exit code is 1.

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
            report.tell()
            runner.run(connection.aclose())
    invocation.answer(report.document(), str(report))
    raise click.exceptions.Exit(code)


def _reader(found: Settings) -> Reader:
    """How a line is read by these settings."""
    keyring, clock = administration.keyring(found), SystemClock()
    return lambda raw: importline.parse(raw, keyring, found.plans, clock.wall_ms())


def _run(
    source: BinaryIO, runner: asyncio.Runner, importer: Importer, read: Reader, report: Report
) -> int:
    """Import all there is. Returns the exit code."""
    try:
        _feed(source, runner, importer, read, report)
    except KeyboardInterrupt:
        write_stderr("interrupted; run it again to go on")
        return INTERRUPTED
    except Fault:
        if report.imported + report.already_there:
            write_stderr(f"{report}; run it again to go on")
        raise
    return REFUSED if report.refused else 0


def _feed(
    source: BinaryIO, runner: asyncio.Runner, importer: Importer, read: Reader, report: Report
) -> None:
    """Read all lines and import them, a batch at a time."""
    batch: list[tuple[int, Wanted]] = []
    with _progress(source) as bar:
        for number, size, raw in _lines(source):
            try:
                if raw is None or raw.strip():
                    wanted = read(raw)
                    report.once(number, wanted)
                    batch.append((number, wanted))
            except BadInput as cause:
                report.refuse(number, cause)
            bar.update(size)
            if len(batch) >= BATCH:
                runner.run(_put(importer, batch, report))
                batch = []
        if batch:
            runner.run(_put(importer, batch, report))
        bar.update_min_steps = 1  # show the rest, too
        bar.update(0)


async def _put(importer: Importer, batch: list[tuple[int, Wanted]], report: Report) -> None:
    """Import a batch, also when it is interrupted: what was sent is counted."""
    act = importer.rehearse if report.dry_run else importer.put
    sent = asyncio.create_task(act([wanted for _, wanted in batch]))  # noqa: RUF006  awaited
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
    """A new file for what was refused, gone again when nothing was.

    Only its owner may read it: it tells of somebody's keys.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        problem = "is there already, and is never overwritten"
        raise BadInput("--rejects", f"{fields.shown(path)} {problem}") from None
    except OSError as cause:
        raise BadInput("--rejects", f"{cause.strerror}: {fields.shown(path)}") from None
    with io.FileIO(handle, "w") as file:  # no buffer: what was refused is there at once
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
        file.truncate(file.seek(end))  # half a line would be read as garbage
        what = "what was imported stays: run it again with a new file"
        raise Unavailable(f"--rejects: {cause.strerror}; {what}") from None


def _progress(source: BinaryIO) -> Any:
    """On stderr, if that is a terminal: a bar where the size is known, else how many bytes."""
    watched = sys.stderr is not None and sys.stderr.isatty()
    size = None
    with contextlib.suppress(OSError, io.UnsupportedOperation):
        about = os.fstat(source.fileno())
        size = about.st_size if stat.S_ISREG(about.st_mode) else None
    wandering: Iterator[None] = (None for _ in ())  # what a bar without a length needs
    return click.progressbar(
        None if size else wandering,
        length=size,
        label="importing",
        show_pos=not size,
        bar_template="%(label)s  [%(bar)s]  %(info)s" if size else "%(label)s  %(info)s bytes",
        file=sys.stderr,
        hidden=not watched,
        update_min_steps=importline.MAX_LINE,
    )
