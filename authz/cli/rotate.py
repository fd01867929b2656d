"""`authz keys rotate`, `authz keys retire` and `authz keys rollback`."""

from pathlib import Path
from typing import Any, Final, cast

import click

from authz.cli import show
from authz.cli.administration import stored_settings
from authz.cli.invocation import Invocation, common
from authz.cli.keyfile import key_file, out_option
from authz.cli.options import kid_argument, note_option, optional_kid_argument
from authz.cli.outcome import make_change, report_change, show_new_key
from authz.cli.over_api import is_over_api
from authz.cli.secret_files import SecretDirectory, secrets_to_option
from authz.cli.selecting import required, selector_options
from authz.cli.task import DONE, Consent, Task, bulk_options
from authz.cli.terminal import escaped
from authz.cli.waiting import wait_options
from authz.core import fields
from authz.core.changes import Unchanged
from authz.core.delivery import Arrival
from authz.core.edits import Retire, RollBack, Rotate
from authz.core.errors import BadInput
from authz.core.keys.credentials import Minted
from authz.core.records import KeyRecord
from authz.core.selector import Selector
from authz.core.times import rfc3339
from authz.flows.bulk_change import Step
from authz.flows.lifecycle import Changed
from authz.process.clock import SystemClock
from authz.wiring import administration

NOT_DELIVERED: Final = 1


@click.command()
@optional_kid_argument
@selector_options
@click.option(
    "--grace",
    metavar="DURATION",
    default="7d",
    show_default=True,
    help="How long the old secret still works.",
)
@click.option(
    "--to",
    metavar="TARGET",
    default="",
    help="One key: take the new secret to this target of rotation.targets.",
)
@out_option
@secrets_to_option
@bulk_options
@note_option
@wait_options
@common
@click.pass_obj
def rotate(
    invocation: Invocation,
    kid: str | None,
    *,
    selector: Selector,
    grace: str,
    to: str,
    out: str | None,
    secrets_to: Path | None,
    note: str,
    wait_seconds: float | None,
    consent: Consent,
) -> int:
    """Give a key a new secret. The old secret works for --grace longer.

    The kid stays the same, and the lifetime starts again. At most two secrets work at a time, and
    none works longer than the key. --grace 0 ends the old secrets at once. The secret of an expired
    key does not work again.

    With --to nobody sees the new secret, and --grace begins when it has arrived. If the target
    refuses it at once, the rotation is undone. If its answer is unknown, the delivery is pending:
    `authz admin` or the same command tries again, and until then both secrets work.

    Without KID, all keys that fit the conditions get a new secret, after a confirmation. The
    secrets go to files of mode 0600 in --secrets-to, KID.key for each key.

    \b
    Examples:
      authz keys rotate 7Hk2mQ9xT4bVzR1c
      authz keys rotate 7Hk2mQ9xT4bVzR1c --grace 24h --out acme-web.key
      authz keys rotate 7Hk2mQ9xT4bVzR1c --grace 0 --note "leaked in a log"
      authz keys rotate 7Hk2mQ9xT4bVzR1c --to vault
      authz keys rotate --client acme-web --secrets-to ./secrets --yes
    """
    required(selector, kid)
    grace_ms = fields.duration_ms("--grace", grace)
    if to and (kid is None or out is not None or secrets_to is not None):
        raise BadInput("--to", "is for one KID, and the secret goes nowhere else")
    if to:
        return _deliver(invocation, cast("str", kid), Rotate(grace_ms, to=to), note, wait_seconds)
    if kid is None:
        if out is not None:
            raise BadInput("--out", "is for one key; many secrets go to --secrets-to DIR")
        if secrets_to is None and not consent.rehearsal:
            raise BadInput("--secrets-to", "is needed for many keys, such as ./secrets")
        from authz.cli.bulk import change_selected  # noqa: PLC0415  for many keys alone

        writes = not consent.rehearsal
        directory = SecretDirectory(secrets_to) if secrets_to and writes else None
        task = _task(invocation, grace_ms, directory)
        return change_selected(
            invocation, selector, task, consent, note=note, wait_seconds=wait_seconds
        )
    if secrets_to is not None:
        raise BadInput("--secrets-to", "is for many keys; give --out FILE for one")
    with key_file(out) as file:
        waited = make_change(invocation, kid, Rotate(grace_ms), note, wait_seconds)
        result = cast("Changed", waited.result)
        what = f"rotated {show.summary(result.record)}; {_ended(result.record)}"
        show_new_key(invocation, result, what, file, waited)
    return DONE


def _deliver(
    invocation: Invocation, kid: str, edit: Rotate, note: str, wait_seconds: float | None
) -> int:
    """Rotate a key and have the secret delivered. Return 1 unless it has arrived."""
    waited = make_change(invocation, kid, edit, note, wait_seconds)
    done, result = waited.delivery, cast("Changed", waited.result)
    if done is None:  # an older server knows no targets: the secret must not be lost
        with key_file(None) as file:
            show_new_key(invocation, result, f"rotated {kid}, not delivered", file, waited)
        return NOT_DELIVERED
    record, why = result.record, f": {done.why}" if done.why else ""
    if done.arrival is Arrival.DELIVERED:
        text = f"{kid}: delivered to {edit.to}; {_ended(record)}"
    elif done.arrival is Arrival.UNDONE:
        text = f"{kid}: not delivered to {edit.to}{why}; the rotation is undone"
    else:
        later = "`authz admin` tries again, and both secrets work until it has arrived"
        text = f"{kid}: the delivery to {edit.to} is pending{why}; {later}"
    document: dict[str, Any] = {
        "kid": kid,
        "delivery": done.arrival.value,
        "problem": done.why or None,
    }
    document |= {"record": show.document(record), **waited.document()}
    invocation.answer(document, f"{escaped(text)}{waited.text()}")
    waited.exit_if_incomplete()
    return DONE if done.arrival is Arrival.DELIVERED else NOT_DELIVERED


def _ended(record: KeyRecord) -> str:
    """Return in words until when the secrets before the newest one work."""
    now = record.newest_secret.created_at
    before = record.secrets[:-1]
    for entry in reversed(before):
        if entry.is_live(now) and entry.retires_at is not None:
            return f"the old secret works until {rfc3339(entry.retires_at)}"
    ended = [entry.id for entry in before if entry.retires_at == now]
    if len(ended) > 1:
        return f"the old secrets {' and '.join(ended)} work no more"
    return "the old secret works no more"


def _task(invocation: Invocation, grace_ms: int, directory: SecretDirectory | None) -> Task:
    """Return the task that gives each key a new secret.

    The secret is written to `directory` before the store has it; over the admin API when the server
    has told it. directory: None only for a dry run. Raises BadInput for invalid settings or an
    unusable pepper file.
    """
    ring = None if is_over_api(invocation) else administration.keyring(stored_settings(invocation))
    minted: dict[str, Minted] = {}  # of keys whose outcome is not known yet

    def mint(record: KeyRecord) -> Minted:
        if ring and record.kid not in minted:
            minted[record.kid] = ring.mint(record.env, record.kid, public=record.public)
            if directory is not None:
                directory.prepare(record.kid, minted[record.kid].text)
        return minted[record.kid]

    def settle(step: Step) -> None:
        minted.pop(step.kid, None)
        if directory is not None:
            if isinstance(step.outcome, Changed) and step.outcome.key_text:  # the server made it
                directory.prepare(step.kid, step.outcome.key_text)
            # Unchanged: an earlier try added this secret, and its reply was lost.
            is_kept = isinstance(step.outcome, Changed | Unchanged)
            (directory.keep if is_kept else directory.discard)(step.kid)

    edit = Rotate(grace_ms, mint if ring else None)
    return Task(edit, *("rotate", "rotating", "rotated", "already rotated"), on_step=settle)


@click.command()
@kid_argument
@click.option(
    "--secret",
    "which",
    metavar="old|new|N",
    required=True,
    help="The older or the newer of two live secrets, or its number.",
)
@note_option
@wait_options
@common
@click.pass_obj
def retire(
    invocation: Invocation, kid: str, which: str, note: str, wait_seconds: float | None
) -> None:
    """End one secret of a key in the overlap of a rotation. The other one works as before.

    If the old secret leaked, end it. If the new one was lost, end it and rotate again: the old
    secret works until the overlap ends. `authz keys show KID` lists the secrets with their numbers.
    The only live secret cannot be ended.

    \b
    Examples:
      authz keys retire 7Hk2mQ9xT4bVzR1c --secret old --wait
      authz keys retire 7Hk2mQ9xT4bVzR1c --secret 2 --note "never arrived"
    """
    if which not in {"old", "new"} and not (which.isascii() and which.isdecimal()):
        raise BadInput("--secret", f"{fields.shown(which)}: old, new, or a number such as 1")
    waited = make_change(invocation, kid, Retire(which), note, wait_seconds)
    record, now = cast("Changed", waited.result).record, SystemClock().wall_ms()
    live = ", ".join(entry.id for entry in record.secrets if entry.is_live(now))
    report_change(invocation, waited, f"of {kid} the secret {live} works, and no other")


@click.command()
@kid_argument
@note_option
@wait_options
@common
@click.pass_obj
def rollback(invocation: Invocation, kid: str, note: str, wait_seconds: float | None) -> None:
    """Undo the last rotation of a key while both secrets work.

    The new secret ends now. The old one works on without an end of its own, and the key gets its
    earlier expiry back, but at least the rest of the overlap. Refused if a report of a leak named
    the old secret.

    \b
    Examples:
      authz keys rollback 7Hk2mQ9xT4bVzR1c --wait
      authz keys rollback 7Hk2mQ9xT4bVzR1c --note "half of the clients lack the new secret"
    """
    waited = make_change(invocation, kid, RollBack(), note, wait_seconds)
    record = cast("Changed", waited.result).record
    report_change(
        invocation, waited, f"{kid} works with its earlier secret {record.newest_secret.id}"
    )
