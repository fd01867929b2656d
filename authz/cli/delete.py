"""`authz keys delete` and `authz keys purge`."""

from typing import Final, cast

import click

from authz.cli.invocation import Invocation, common
from authz.cli.options import note_option, optional_kid_argument
from authz.cli.outcome import make_change
from authz.cli.selecting import required, selector_options
from authz.cli.task import DONE, FAILED, Consent, Task, bulk_options
from authz.cli.waiting import wait_options
from authz.core import fields
from authz.core.edits import Delete
from authz.core.errors import BadInput
from authz.core.selector import Selector, State
from authz.flows.lifecycle import Changed
from authz.process.clock import SystemClock

_WORDS: Final = ("delete", "deleting", "deleted", "already deleted", ", for ever")


@click.command()
@optional_kid_argument
@selector_options
@click.option("--force", is_flag=True, help="Also a key that is neither revoked nor expired.")
@bulk_options
@note_option
@wait_options
@common
@click.pass_obj
def delete(
    invocation: Invocation,
    /,
    *,
    kid: str | None,
    selector: Selector,
    force: bool,
    note: str,
    wait_seconds: float | None,
    consent: Consent,
) -> int:
    """Delete a revoked or expired key, for ever.

    Its record, its limits and its entries in the audit trail go, with all personal data in them,
    and so do the networks and user agents in its usage. The trail keeps the time and the author of
    the deletion, and a tombstone prevents that an import or a backup brings the key back. The store
    cannot undo it.

    Without KID, all keys that fit the conditions are deleted, after a confirmation.

    \b
    Examples:
      authz keys delete 7Hk2mQ9xT4bVzR1c
      authz keys delete 7Hk2mQ9xT4bVzR1c --force --note "request 4711 of the customer"
      authz keys delete --client acme-web --status revoked --yes
    """
    required(selector, kid)
    if kid is None:
        from authz.cli.bulk import change_selected  # noqa: PLC0415  for many keys alone

        return change_selected(
            invocation,
            selector,
            _task(is_forced=force),
            consent,
            note=note,
            wait_seconds=wait_seconds,
        )
    if consent.agreed or consent.rehearsal:
        option = "--yes" if consent.agreed else "--dry-run"
        raise BadInput(option, "is for --client and other conditions; one key is deleted at once")
    waited = make_change(invocation, kid, Delete(force), note, wait_seconds)
    record = cast("Changed", waited.result).record
    document = {"kid": kid, "deleted": True, "version": record.version} | waited.document()
    invocation.answer(document, f"{kid} is deleted{waited.text()}")
    waited.exit_if_incomplete()
    return DONE


@click.command()
@click.option("--revoked-for", metavar="DURATION", help="Keys that were revoked so long ago.")
@click.option("--expired-for", metavar="DURATION", help="Keys that expired so long ago.")
@bulk_options
@note_option
@common
@click.pass_obj
def purge(
    invocation: Invocation,
    /,
    *,
    revoked_for: str | None,
    expired_for: str | None,
    consent: Consent,
    note: str,
) -> int:
    """Delete keys that have been dead for a long time.

    It is `delete` for a schedule: it exits with 0 if no key is old enough. With --yes nobody is
    asked.

    \b
    Examples:
      authz keys purge --revoked-for 30d --expired-for 90d --dry-run
      authz keys purge --revoked-for 30d --expired-for 90d --yes
    """
    if revoked_for is None and expired_for is None:
        raise click.UsageError("give --revoked-for or --expired-for, such as --revoked-for 30d")
    now, chosen = SystemClock().wall_ms(), []
    if revoked_for is not None:
        before = now - fields.duration_ms("--revoked-for", revoked_for)
        chosen.append(Selector(states=frozenset({State.REVOKED}), revoked_before=before))
    if expired_for is not None:
        before = now - fields.duration_ms("--expired-for", expired_for)
        chosen.append(Selector(states=frozenset({State.EXPIRED}), expires_before=before))
    from authz.cli.bulk import change_selected  # noqa: PLC0415  for many keys alone

    codes = [
        change_selected(
            invocation,
            selector,
            _task(is_forced=False),
            consent,
            note=note,
            wait_seconds=None,
            nothing=DONE,
        )
        for selector in chosen
    ]
    return FAILED if FAILED in codes else DONE


def _task(*, is_forced: bool) -> Task:
    return Task(Delete(is_forced), *_WORDS)
