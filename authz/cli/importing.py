"""`authz keys import`: existing keys, in one of several formats on stdin.

Imported keys stay if the command is interrupted. A second run continues where the first ended.
"""

import asyncio
import contextlib
import io
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from authz.cli.actor import actor
from authz.cli.administration import stored_settings
from authz.cli.import_entry import IGNORED, Entry
from authz.cli.import_fields import FIELDS
from authz.cli.import_report import Report
from authz.cli.import_sender import Sender
from authz.cli.import_source import FORMATS, Source
from authz.cli.importline import LineParser
from authz.cli.invocation import Invocation, common, write_stderr
from authz.cli.json_lines import MAX_LINE
from authz.cli.options import note_option, path_such_as
from authz.cli.over_api import admin_target, is_over_api
from authz.core import fields
from authz.core.errors import BadInput, Fault
from authz.flows.importing import Wanted
from authz.process.clock import SystemClock
from authz.wiring import imports
from authz.wiring.session import ImportSession

BATCH: Final = 250
REFUSED: Final = 1
INTERRUPTED: Final = 130


def _maps(
    _context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]
) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given:
        column, equals, name = text.partition("=")
        is_known = name in FIELDS or name == IGNORED or name.startswith("metadata.")
        if not equals or not column or not is_known:
            good = "COLUMN=FIELD, such as customer=client, or COLUMN=- to leave a column out"
            raise BadInput("--map", f"{fields.shown(text)}: {good}")
        found[column] = name
    return found


@click.command("import")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="auto",
    show_default=True,
    help="Format of stdin. auto: by its first line.",
)
@click.option(
    "--map",
    "renamed",
    metavar="COLUMN=FIELD",
    multiple=True,
    callback=_maps,
    help="Field of a column or member; `-` leaves it out. Repeatable.",
)
@click.option(
    "--rejects",
    metavar="FILE",
    callback=path_such_as("rejects.jsonl"),
    help="Write refused lines to this new file, as JSON Lines.",
)
@click.option(
    "--allow-hash-like",
    is_flag=True,
    help="Accept a `key` of 64 hexadecimal digits, which is often a hash.",
)
@click.option("--dry-run", is_flag=True, help="Print the counts, and change nothing.")
@note_option
@common
@click.pass_obj
def import_(
    invocation: Invocation,
    form: str,
    renamed: dict[str, str],
    rejects: str | None,
    *,
    allow_hash_like: bool,
    dry_run: bool,
    note: str,
) -> None:
    """Import existing keys from stdin.

    Callers keep their keys. The store gets only digests. The formats: JSON Lines, a JSON array, CSV
    with a header, Kong's declarative configuration, and the key lists of Unkey and LiteLLM.

    Each entry is one object with `key` or `sha256` (in hexadecimal or base64), and `client`. It may
    also hold the options of `issue`: project, tenant, name, env, scope, host, origin, cidr, limit
    (each of these five a list), credits, plan, on_outage, expires_in, not_before, outage_grace,
    public, metadata (an object); and expires_at, never, status, created_at, last_used_at, id.
    Without expires_in and expires_at the key never expires. Nested metadata gets dotted names.

    A key is 16 to 256 of A-Z a-z 0-9 _ . ~ + / = - and works in x-api-key. With a prefix of
    keys.imported_prefixes it is 8 to 256 and works after `Authorization: Bearer`, too.

    Keys that were imported before stay unchanged, so an interrupted import can be run again. Lines
    that cannot be imported are refused one by one, and so are keys that are there for another
    client, revoked, or with other secrets. Then the exit code is 1.

    \b
    Examples:
      authz keys import --dry-run < keys.jsonl
      authz keys import --rejects rejects.jsonl --note "from the old gateway" < keys.jsonl
      authz keys import --map customer=client --map key_sha256=sha256 < customers.csv
      authz keys import --format kong --json < kong.yaml | jq '.rows[] | {line, kid, outcome}'
      echo '{"key": "sk-0123456789abcdef", "client": "acme-web"}' | authz keys import
    """
    begin = _begin(invocation, note)
    stdin = _stdin()
    with contextlib.ExitStack() as files, asyncio.Runner() as runner:
        refused = files.enter_context(_rejects(rejects)) if rejects is not None else None
        report = Report(dry_run, refused, keeps_rows=invocation.as_json)
        connection = contextlib.AsyncExitStack()
        session = runner.run(connection.enter_async_context(begin))
        parser = LineParser(session.keyring, session.plans, allow_hash_like)
        source = Source(stdin, renamed, parser.may_be_key)
        try:
            sender = Sender(
                runner, session.importer, report, overlaps=_size(source.stdin) is not None
            )
            code = _run(source, form, sender, parser)
        finally:
            report.show_refusals(source.notes)
            runner.run(connection.aclose())
    invocation.answer(report.document(), str(report))
    raise click.exceptions.Exit(code)


def _begin(invocation: Invocation, note: str) -> AbstractAsyncContextManager[ImportSession]:
    """Return the parts of an import, over the store or over the admin API. Raises BadInput."""
    if is_over_api(invocation):
        from authz.wiring import remote  # noqa: PLC0415  most imports need no gRPC

        return remote.importing(admin_target(invocation), note)
    return imports.importing(stored_settings(invocation), actor(), note)


def _run(source: Source, form: str, sender: Sender, parser: LineParser) -> int:
    """Import all entries and return the exit code.

    It is 0, REFUSED (1) if an entry was refused, or INTERRUPTED (130) after Ctrl-C. Raises Fault if
    the store or the rejects file fails; stderr then has the counts so far, if any key was imported
    or there.
    """
    report = sender.report
    try:
        _feed(source, form, sender, parser)
    except KeyboardInterrupt:
        sender.finish()
        write_stderr("interrupted; run it again to continue")
        return INTERRUPTED
    except Fault:
        if report.has_progress:
            write_stderr(f"{report}; run it again to continue")
        raise
    return REFUSED if report.has_refusals else 0


def _feed(source: Source, form: str, sender: Sender, parser: LineParser) -> None:
    """Read all entries and import them in batches of BATCH (250). Skip empty ones.

    Bad entries are recorded as refused. Moves the progress bar. Raises Fault if the store or the
    rejects file fails.
    """
    batch: list[tuple[int, Wanted]] = []
    report, clock = sender.report, SystemClock()
    with _progress(source.stdin) as bar:
        for entry in _read(source, form):
            report.unit = source.unit
            try:
                if entry.problem is not None:
                    raise entry.problem
                if entry.given is not None:
                    wanted = parser.parse(entry.given, clock.wall_ms())
                    report.refuse_duplicate(entry.number, wanted)
                    batch.append((entry.number, wanted))
            except BadInput as cause:
                report.refuse(entry.number, cause)
            bar.update(entry.size)
            if len(batch) >= BATCH:
                sender.send(batch)
                batch = []
        if batch:
            sender.send(batch)
        sender.finish()
        bar.update_min_steps = 1  # show the rest
        bar.update(0)


def _read(source: Source, form: str) -> Iterator[Entry]:
    try:
        yield from source.entries(form)
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


def _size(source: BinaryIO) -> int | None:
    """Return the size of a regular file in bytes, or None for a pipe or a terminal."""
    with contextlib.suppress(OSError, io.UnsupportedOperation):
        about = os.fstat(source.fileno())
        return about.st_size if stat.S_ISREG(about.st_mode) else None
    return None


def _progress(source: BinaryIO) -> Any:
    """Return a progress bar on stderr, hidden if that is not a terminal.

    With a regular, non-empty file as source it is a bar, else the number of bytes.
    """
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    size = _size(source)
    no_length: Iterator[None] = (None for _ in ())  # click needs an iterator without a length
    return click.progressbar(
        None if size else no_length,
        length=size,
        label="importing",
        show_pos=not size,
        bar_template="%(label)s  [%(bar)s]  %(info)s" if size else "%(label)s  %(info)s bytes",
        file=sys.stderr,
        hidden=not is_terminal,
        update_min_steps=MAX_LINE,
    )
