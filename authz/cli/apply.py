"""`authz apply`: make the keys of the store as a file declares them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import click

from authz.cli import declared, key_file_text
from authz.cli.actor import actor
from authz.cli.administration import with_files
from authz.cli.color import difference
from authz.cli.comparison import Comparison, check_plans, compare
from authz.cli.consent import can_ask
from authz.cli.invocation import Invocation, common, write_error, write_stderr
from authz.cli.options import note_option, path_such_as
from authz.cli.secret_sinks import sink_option
from authz.cli.terminal import escaped
from authz.core.changes import Refused, Unchanged
from authz.core.declared_changes import AsOf
from authz.core.errors import BadInput, Fault
from authz.core.records import KeyRecord
from authz.flows.applying import Intent
from authz.flows.bulk_change import Failed, Skipped, Step
from authz.flows.by import By
from authz.flows.command_ports import SecretSink
from authz.wiring.session import FileSession

DONE, DIFFERENT = 0, 1
MANY: Final = 0.10  # of the keys in the scope: more to prune are confirmed once more


@dataclass(slots=True)
class Outcomes:
    """The outcomes of an apply. issued: kids of new keys by ref. changed, revoked: kids.

    failed: reasons by kid, or by ref for a new key.
    """

    issued: dict[str, str] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, steps: Sequence[Step], done: list[str]) -> None:
        """Add the kids of changes that were made to `done`, and each failure to `failed`.

        Unchanged and skipped keys are left out. done: `changed` or `revoked` of these outcomes.
        """
        for step in steps:
            if isinstance(step.outcome, Refused | Failed):
                self.failed[step.kid] = step.outcome.why
            elif not isinstance(step.outcome, Unchanged | Skipped) and step.kid not in done:
                done.append(step.kid)


file_option = click.option(
    "-f",
    "--file",
    "path",
    metavar="FILE",
    required=True,
    callback=path_such_as("keys.yaml"),
    help="The file of keys; - for stdin.",
)
prune_option = click.option(
    "--prune", is_flag=True, help="Revoke the keys of the file's scope that it does not declare."
)
overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Let the file win over later changes of the store."
)


@click.command()
@file_option
@prune_option
@overwrite_option
@click.option("--dry-run", is_flag=True, help="Print the changes, make none.")
@click.option("--yes", is_flag=True, help="Do not ask before keys are revoked by --prune.")
@click.option(
    "--prune-many",
    is_flag=True,
    help="Do not ask again if --prune revokes more than 10% of the keys.",
)
@click.option("--no-write", is_flag=True, help="Leave the file as it is.")
@sink_option
@note_option
@common
@click.pass_obj
def apply(
    invocation: Invocation,
    /,
    *,
    path: str,
    prune: bool,
    overwrite: bool,
    dry_run: bool,
    yes: bool,
    prune_many: bool,
    no_write: bool,
    secrets_to: SecretSink | None,
    note: str,
) -> int:
    """Make the keys of the store as a file declares them.

    `authz keys export` writes such a file. Each key is merged: a field that was changed in the file
    is set, a field that was changed in the store since the file was made stays. If both changed it,
    that is a conflict, and nothing is applied. An entry with a ref and without a kid becomes a new
    key. Afterwards the file is brought up to date: kids of new keys, versions, and values that were
    changed in the store. Exit code 1: there is a conflict, or a key was refused or failed.

    \b
    Examples:
      authz apply -f keys.yaml --dry-run
      authz apply -f keys.yaml --secrets-to ./secrets
      authz apply -f keys.yaml --prune --yes --note "commit 1a2b3c"
    """
    file = declared.load(path)
    check_plans(invocation, path, file)
    found = compare(invocation, file, prune=prune, overwrites=overwrite)
    for line in found.kept():
        write_stderr(escaped(line))
    if found.problems:
        for line in found.problems:
            write_error(line, "conflict")
        raise click.ClickException(
            f"{path}: {len(found.problems)} conflicts, nothing was applied; export again"
            + ("" if overwrite else ", or let the file win with --overwrite")
        )
    if dry_run:
        lines = [difference(escaped(line)) for line in found.lines()]
        text = "\n".join([*lines, _summary(found, "would be ")])
        invocation.answer({"dry_run": True, **found.document()}, text)
        return DONE
    if secrets_to is None and any(i.is_new for i in found.intents):
        raise BadInput("--secrets-to", "is needed for new keys, such as ./secrets")
    _confirm(found, is_agreed=yes, may_be_many=prune_many)
    mode = Mode("" if no_write or path == "-" else path, overwrite, secrets_to)
    done = _carry_out(invocation, found, mode, By(actor(), note))
    return _report(invocation, found, done)


def _confirm(found: Comparison, *, is_agreed: bool, may_be_many: bool) -> None:
    """Ask before keys are revoked, and once more if they are over 10 % of `found.total`.

    is_agreed, may_be_many: skip the first and the second question. Without keys to revoke nothing
    is asked. Raises BadInput if nobody can answer, ClickException after a no.
    """
    count = sum(not p.problem for p in found.pruned)
    if not count:
        return
    share = count / max(found.total, 1)
    for asks, option, question in (
        (not is_agreed, "--yes", f"revoke {count} keys that the file does not declare, for ever?"),
        (
            share > MANY and not may_be_many,
            "--prune-many",
            f"these are {share:.0%} of all {found.total} keys; revoke {count} keys?",
        ),
    ):
        if asks and not can_ask():
            raise BadInput(option, f"is needed where nobody can confirm: {question}")
        if asks and not click.confirm(question, err=True):
            raise click.ClickException("nothing was applied")


@dataclass(frozen=True, slots=True)
class Mode:
    """The options of an apply. path: the file to update; empty: none. sink: for new secrets."""

    path: str
    overwrites: bool
    sink: SecretSink | None


def _carry_out(invocation: Invocation, found: Comparison, mode: Mode, by: By) -> Outcomes:
    done, issued = Outcomes(), dict[int, KeyRecord]()
    before = declared.read_text(mode.path) if mode.path else ""

    async def work(session: FileSession) -> None:
        await _issue_all(session, found.intents, mode.sink, by, done=done, issued=issued)
        steps = session.applying.change(found.intents, by, overwrites=mode.overwrites)
        async for batch in steps:
            done.add(batch, done.changed)
        records = await session.applying.remember(found.intents)
        pruned = [p.record.kid for p in found.pruned if not p.problem]
        async for batch in session.applying.revoke(pruned, by):
            done.add(batch, done.revoked)
        if before:
            records |= {record.kid: record for record in issued.values()}
            kids = {place: record.kid for place, record in issued.items()}
            as_of = found.file.as_of if done.failed else await session.exporter.sequence()
            _update_file(mode.path, before, kids, records, as_of)

    with_files(invocation, work)
    return done


async def _issue_all(
    session: FileSession,
    intents: Sequence[Intent],
    sink: SecretSink | None,
    by: By,
    *,
    done: Outcomes,
    issued: dict[int, KeyRecord],
) -> None:
    """Issue the new keys, and hand the secret of each to `sink`. Without it, do nothing.

    issued: gets the record of each key by its place in the file, from 0. done: gets the outcomes. A
    refused key goes to `done.failed`. Raises Unavailable if the store or the sink fails.
    """
    for place, intent in enumerate(intents):
        one = intent.declared
        if not intent.is_new or sink is None:
            continue
        try:
            issued[place] = await session.applying.create(one, sink, by)
        except BadInput as cause:
            done.failed[one.ref] = str(cause)
            continue
        done.issued[one.ref] = issued[place].kid


def _update_file(
    path: str, before: str, kids: dict[int, str], records: dict[str, KeyRecord], as_of: AsOf
) -> None:
    try:
        key_file_text.update(path, before, kids, records, as_of)
    except Fault as cause:  # the keys are applied, so this is no failure of the command
        write_error(str(cause))


def _report(invocation: Invocation, found: Comparison, done: Outcomes) -> int:
    document = {
        "issued": done.issued,
        "changed": done.changed,
        "revoked": done.revoked,
        "kept": found.document()["kept"],
        "failed": [{"key": name, "error": why} for name, why in done.failed.items()],
    }
    unchanged = len(found.intents) - len(done.issued) - len(done.changed)
    text = (
        f"{len(done.issued)} issued, {len(done.changed)} changed, {len(done.revoked)} revoked, "
        f"{max(0, unchanged - len(done.failed))} unchanged, {len(done.failed)} failed"
    )
    invocation.answer(document, text)
    if not invocation.as_json:
        for name, why in done.failed.items():
            write_error(f"{name}: {why}", "not applied")
    return DIFFERENT if done.failed else DONE


def _summary(found: Comparison, verb: str) -> str:
    document = found.document()
    return (
        f"{len(document['new'])} {verb}issued, {len(document['changed'])} {verb}changed, "
        f"{len(document['pruned'])} {verb}revoked"
    )
