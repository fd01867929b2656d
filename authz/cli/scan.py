"""`authz scan`: find keys in files, folders and the history of git."""

import json
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, cast

import click

from authz.cli.actor import actor
from authz.cli.administration import load_settings
from authz.cli.ending_signals import as_interrupts
from authz.cli.invocation import Invocation, common, write_stderr, write_stdout, write_warning
from authz.cli.options import MAX_PATH
from authz.cli.scan_report import Report
from authz.cli.session_loop import within
from authz.cli.terminal import escaped
from authz.core import fields
from authz.core.errors import BadInput, NotFound, Unavailable, Unreadable
from authz.core.keys.scanner_rules import TOOLS, rules_for
from authz.core.keys.scanning import MAX_READINGS, KeyScanner, Sighting
from authz.core.records import RevocationReason
from authz.flows.identification import Standing
from authz.process.git_objects import GitObjects
from authz.process.interruption import raise_if_interrupted
from authz.process.searched_bytes import BlockSearch, Pollable, Waiting
from authz.process.searched_files import Found, SearchedFiles, is_folder
from authz.settings.model import Settings
from authz.wiring.leaks import LeakSession, leak_session

FOUND: Final = 1
NOT_SEARCHED: Final = 2
STDIN: Final = "-"
MAX_NOTE: Final = 200  # characters of a place in the audit trail
MOST_LOOKED_UP: Final = 1024  # texts in one question to the store


def _paths(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    for value in values:
        if not (0 < len(value) <= MAX_PATH and value.isprintable()):
            raise BadInput("PATH", f"{fields.shown(value)} is not a path, such as src")
    return values


class _Scan(click.Command):
    """The command. Click itself does not tell whether an argument stands after `--`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments. After `--`, where a hook names its files, `-` is a file, too."""
        begins = args.index("--") if "--" in args else len(args)
        files = [f"./{one}" if one == STDIN else one for one in args[begins:]]
        return super().parse_args(ctx, [*args[:begins], *files])


@click.command(cls=_Scan)
@click.argument("paths", metavar="PATH...", nargs=-1, callback=_paths)
@click.option("--git", is_flag=True, help="Also search every object of the git repository there.")
@click.option("--sarif", is_flag=True, help="Print SARIF 2.1.0.")
@click.option("--revoke", is_flag=True, help="Revoke each key that was found and still works.")
@click.option(
    "--rules",
    type=click.Choice(TOOLS),
    help="Print the rules of another scanner for keys of this installation, and search nothing.",
)
@common
@click.pass_obj
def scan(
    invocation: Invocation,
    paths: tuple[str, ...],
    *,
    git: bool,
    sarif: bool,
    revoke: bool,
    rules: str | None,
) -> int:
    """Find keys in files, in folders, and with `-` in stdin. After `--`, `-` is a file.

    A key is found by the prefix of the settings and by its checksum, also in binary files. A text
    that begins with one of keys.imported_prefixes is reported as a possible key. The report shows
    kids and never a whole key. If a pepper file of the settings is on this machine, the store is
    asked for the client and the status of each key. --git reads every object: also those of deleted
    branches, in packs, and the messages of commits and tags.

    A publishable key is reported and is no leak: it is not revoked, and does not count for the exit
    code.

    Exit codes: 0 no leaked key, 1 a key was found, 2 something could not be searched, 3 with
    --revoke: a key is not revoked, or the store did not confirm it. Run it again: it continues.

    \b
    Examples:
      authz scan src config
      authz scan --git . --json
      git diff --cached --text --no-color --no-ext-diff --no-textconv --no-renames |
        grep -a '^+' | authz scan -
      authz scan --git . --revoke
      authz scan --rules gitleaks > gitleaks.toml
    """
    settings = load_settings(invocation)
    keys = settings.keys
    prefixes = (keys.prefix, *keys.older_prefixes)
    if rules is not None:
        write_stdout(rules_for(rules, prefixes).rstrip("\n"))
        return 0
    if not paths:
        raise click.UsageError("give a PATH, or - for stdin")
    if sarif and invocation.as_json:
        raise click.UsageError("give one of --sarif and --json")
    public = "" if keys.public_prefix in prefixes else keys.public_prefix
    scanner = KeyScanner(prefixes, keys.imported_prefixes, public_prefix=public)
    report = Report(scanner.masked)
    with as_interrupts(signal.SIGTERM, signal.SIGHUP):  # the processes that search end with it
        _search(report, BlockSearch(scanner), paths, git=git)
        failure = _ask_store(report, settings, revoke=revoke)
    for path, why in report.problems:
        write_warning(f"{path}: {why}", "not searched")
    if sarif:
        write_stdout(json.dumps(report.sarif()))
    else:
        invocation.answer(report.document(), report.text())
    if failure is not None and revoke:
        raise failure
    if report.problems:
        return NOT_SEARCHED
    return FOUND if report.leaks else 0


def _search(report: Report, search: BlockSearch, paths: tuple[str, ...], *, git: bool) -> None:
    files = SearchedFiles(search, report.problem)
    for path in paths:
        if path == STDIN:
            _search_stdin(report, search)
            continue
        report.found += files.under(Path(path))
        if git:
            _search_history(report, search, Path(path))
    report.files += files.files
    report.bytes_read = search.bytes_read


def _search_stdin(report: Report, search: BlockSearch) -> None:
    if sys.stdin is None:
        raise BadInput("stdin", "is closed")
    report.files += 1
    try:
        stdin = Waiting(cast("Pollable", sys.stdin.buffer))
        for hit in search.hits(stdin, counts_lines=True):
            report.found.append(Found("stdin", hit.line, hit))
    except OSError as cause:
        report.problem("stdin", cause.strerror or "")


def _search_history(report: Report, search: BlockSearch, path: Path) -> None:
    objects = GitObjects(path if is_folder(path) else path.parent, search)
    try:
        if gap := objects.gap():
            report.problem(str(path), gap)
        for one in objects.found():  # each of them, also if one of the last objects is damaged
            report.found.append(one)
    except Unavailable as cause:
        report.problem(str(path), escaped(str(cause)))
    report.objects += objects.objects


def _ask_store(report: Report, settings: Settings, *, revoke: bool) -> Unavailable | None:
    """Add what the store knows of the keys.

    Return why it could not be asked, or why one of the keys could not be revoked.
    """
    if not report.found or not (revoke or any(e.file.is_file() for e in settings.keys.peppers)):
        return None
    try:
        unread = within(
            leak_session(settings), lambda session: _identify(report, session, revoke=revoke)
        )
    except Unavailable as cause:
        if not report.asked_store:
            write_warning(f"the store was not asked for the keys: {cause}")
        return cause
    if not unread:
        return None
    for kid, why in unread.items():
        write_warning(f"{kid}: {why}", "not revoked")
    advice = "if a newer version wrote a record, use that version; else see `authz doctor`"
    return Unavailable(f"{len(unread)} of the keys are not revoked: {advice}")


async def _identify(
    report: Report, session: LeakSession, *, revoke: bool
) -> Mapping[str, Unreadable]:
    """Add what the store knows, and revoke. Return by kid why a key could not be: a bad record.

    Possible keys that the store does not know are left out.
    """
    places = {one.hit.sighting.reveal(): one for one in report.found}
    await _look_up(report, session, [one.hit.sighting for one in places.values()])
    report.asked_store = True
    unknown = {text for text, one in report.identities.items() if one.standing is Standing.UNKNOWN}
    report.found = [
        one
        for one in report.found
        if not (one.hit.sighting.is_possible and one.hit.sighting.reveal() in unknown)
    ]
    if not revoke:
        return {}
    live = dict[str, Found]()
    for text, place in places.items():
        identity = report.identities[text]
        is_live = identity.standing is Standing.LIVE and not identity.is_canary
        if is_live and report.is_leak(place):
            live.setdefault(identity.kid, place)
    return await _revoke_all(report, session, live)


async def _revoke_all(
    report: Report, session: LeakSession, live: Mapping[str, Found]
) -> Mapping[str, Unreadable]:
    """Revoke keys, by kid. Return by kid why a key could not be: a bad record.

    If a fault or Ctrl-C stops it, stderr says how many are revoked.
    """
    unread = dict[str, Unreadable]()
    for kid, place in live.items():
        try:
            await _revoke(report, session, kid, place)
            raise_if_interrupted()
        except NotFound:
            continue  # deleted meanwhile
        except Unreadable as cause:
            unread[kid] = cause  # of this key alone; the others are revoked
        except BaseException:  # Ctrl-C, or a store failure
            done = f"{len(report.revoked)} of {len(live)} keys are revoked"
            write_stderr(f"stopped at {kid}: {done}; run it again")
            raise
    return unread


async def _look_up(report: Report, session: LeakSession, sightings: Sequence[Sighting]) -> None:
    """Add what the store knows of some keys: of each the longest reading that it knows.

    MOST_LOOKED_UP texts are looked up at once: a list of keys may be long.
    """
    for start in range(0, len(sightings), MOST_LOOKED_UP // MAX_READINGS):
        part = sightings[start : start + MOST_LOOKED_UP // MAX_READINGS]
        texts = list(dict.fromkeys(text for one in part for text in one.readings))
        found = dict(zip(texts, await session.identification.identify(texts), strict=True))
        for one in part:
            readings = [found[each] for each in one.readings]
            known = (each for each in readings if each.standing is not Standing.UNKNOWN)
            report.identities[one.reveal()] = next(known, readings[0])


async def _revoke(report: Report, session: LeakSession, kid: str, place: Found) -> None:
    where = f"{report.masked(place.path)}:{place.line}"
    note = f"found by authz scan in {escaped(where)[-MAX_NOTE:]}"
    author = session.lifecycle.author(actor(), note)
    await session.lifecycle.revoke(kid, RevocationReason.KEY_COMPROMISE, author)
    report.revoked.add(kid)  # also if somebody else was faster
