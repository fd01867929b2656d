"""`authz keys revoke`: one key by its kid or its text, or all keys of a client."""

import sys
from contextlib import AbstractContextManager
from typing import Any, Final

import click

from authz.cli.actor import actor
from authz.cli.administration import load_settings, raise_if_interrupted, with_session
from authz.cli.invocation import Invocation, common, write_stderr
from authz.cli.options import note_option, optional_kid_argument
from authz.cli.outcome import make_change, report_change
from authz.cli.stdin_key import any_prefix, key_from_stdin
from authz.cli.terminal import escaped
from authz.cli.waiting import wait_options
from authz.core import fields
from authz.core.errors import BadInput
from authz.core.keys.credentials import Imported, Presented
from authz.core.keys.keyring import Keyring
from authz.core.keys.pasted import named_kid
from authz.core.records import RevocationReason
from authz.flows.bulk_revocation import BulkRevocation
from authz.flows.verify import resolve
from authz.wiring import administration

DONE, FAILED = 0, 1
SYNONYMS: Final = {  # of the reasons in RFC 5280
    **dict.fromkeys(("leaked", "leak", "compromised", "stolen"), "key_compromise"),
    **dict.fromkeys(("replaced", "rotated"), "superseded"),
    **dict.fromkeys(("unused", "closed"), "cessation_of_operation"),
}
NOT_OURS: Final = "not a key of this installation"


class Reason(click.Choice[str]):
    """A reason of RFC 5280, or a common word for one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the reason; a word of SYNONYMS becomes its reason.

        Raises BadParameter (a UsageError) for any other word.
        """
        return super().convert(SYNONYMS.get(value, value), param, ctx)


@click.command()
@optional_kid_argument
@click.option("--key-stdin", is_flag=True, help="Read the key itself from stdin.")
@click.option("--client", metavar="ID", help="Revoke all keys of this client.")
@click.option("--yes", is_flag=True, help="With --client: do not ask for confirmation.")
@click.option(
    "--reason",
    type=Reason([reason.value for reason in RevocationReason]),
    default=RevocationReason.UNSPECIFIED.value,
    show_default=True,
)
@note_option
@wait_options
@common
@click.pass_obj
def revoke(
    invocation: Invocation,
    kid: str | None,
    *,
    client: str | None,
    reason: str,
    note: str,
    wait_seconds: float | None,
    key_stdin: bool,
    yes: bool,
) -> int:
    """Revoke a key, for ever. A revoked key cannot be enabled again.

    --client asks for confirmation. If one key cannot be revoked, it continues with the others and
    exits with 1. It also exits with 1 if the client has no keys. --reason leaked stands for
    key_compromise.

    \b
    Examples:
      authz keys revoke 7Hk2mQ9xT4bVzR1c --reason key_compromise --note "found on a public page"
      authz keys revoke 7Hk2mQ9xT4bVzR1c --wait
      authz keys revoke --key-stdin --reason key_compromise < leaked.txt
      authz keys revoke --client acme-web --reason cessation_of_operation
      authz keys revoke --client acme-web --yes --json | jq .failed
    """
    if (kid is not None) + key_stdin + (client is not None) != 1:
        raise click.UsageError("give one of KID, --key-stdin and --client")
    if client is not None and wait_seconds is not None:
        raise BadInput(
            "--wait",
            "is for one key; `authz sidecars` shows the last change that each sidecar has applied",
        )
    if yes and client is None:
        raise BadInput("--yes", "is for --client; one key is revoked without confirmation")
    why = RevocationReason(reason)
    if client is not None:
        client = fields.identifier("--client", client)
        return _revoke_all(invocation, client, why, note, is_agreed=yes)
    if key_stdin:
        prefix = any_prefix(load_settings(invocation).keys)
        kid = _kid_of(invocation, key_from_stdin("the key to revoke", prefix).text, prefix)
    found = kid or ""
    end = make_change(invocation, note, lambda flow, by: flow.revoke(found, why, by), wait_seconds)
    report_change(invocation, end)
    return DONE


def _kid_of(invocation: Invocation, text: str, prefix: str) -> str:
    """Return the kid of a key that was made or imported here.

    prefix: a pattern for key prefixes. Raises ClickException for a damaged, forged or unknown key.
    """
    ring = administration.keyring(load_settings(invocation))
    if presented := ring.parse(text):
        return _genuine_kid(presented, ring)
    if kid := named_kid(text, prefix):
        raise _not_proven(kid, "is mistyped or cut off")
    if imported := ring.parse_imported(text):
        return with_session(invocation, lambda session: _imported_kid(session, imported))
    raise click.ClickException(f"stdin: {NOT_OURS}: prefix_env_kid_body")


async def _imported_kid(session: administration.AdminSession, imported: Imported) -> str:
    if session.imports is None:
        raise click.ClickException(f"stdin: {NOT_OURS}, and none were imported here")
    alias = await resolve(session.imports, imported)
    if alias is None:
        raise click.ClickException(
            "stdin: no key was imported with this text, so nothing is revoked; "
            "`authz keys list --client ID` shows a client's keys"
        )
    return alias.kid


def _genuine_kid(presented: Presented, ring: Keyring) -> str:
    """Return the kid of a key that was made here.

    Raises ClickException if its pepper is not in keys.peppers, or its checksum or tag is wrong.
    """
    kid, flaw = presented.kid, presented.flaw()
    if presented.pepper_version not in ring.fingerprints:
        why = f"was made with pepper {presented.pepper_version}, which keys.peppers does not hold"
    elif flaw == "checksum":
        why = "is mistyped or cut off: its checksum is wrong"
    elif flaw == "tag":
        why = "was not made here: its tag is wrong"
    else:
        return kid
    raise _not_proven(kid, why)


def _not_proven(kid: str, why: str) -> click.ClickException:
    return click.ClickException(
        f"stdin: the key {why}, so nothing is revoked; it names {kid}: "
        f"if that is the one you mean, `authz keys revoke {kid}`"
    )


def _revoke_all(
    invocation: Invocation, client: str, reason: RevocationReason, note: str, *, is_agreed: bool
) -> int:
    """Revoke all keys of a client, after a confirmation unless `is_agreed`, and print the result.

    Return 0, or 1 if a key failed or the client has no keys. Raises BadInput if nobody can confirm,
    ClickException after a no. If it is stopped, stderr has the counts and the error is raised.
    """
    can_ask = sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
    if not is_agreed and not can_ask:
        raise BadInput("--yes", "is needed where nobody can confirm, as in a script")
    done = BulkRevocation(client)
    with_session(invocation, lambda session: done.plan(session.selection))
    count = len(done.planned)
    question = f"revoke {count} keys of client {client}, for ever?"
    if count and not is_agreed and not click.confirm(question, err=True):
        raise click.ClickException("nothing was revoked")

    async def work(session: administration.AdminSession) -> None:
        steps = done.carry_out(
            session.selection,
            session.lifecycle,
            reason,
            lambda: session.lifecycle.author(actor(), note),
        )
        with _progress(count) as bar:
            async for _ in steps:
                bar.update(1)
                raise_if_interrupted()

    try:
        with_session(invocation, work)
    except BaseException:  # Ctrl-C, or a store failure
        write_stderr(f"stopped: {len(done.revoked)} of {len(done.planned)} revoked; run it again")
        raise
    return _report(invocation, done)


def _progress(count: int) -> AbstractContextManager[Any]:
    """Return a progress bar on stderr for `count` keys, hidden if stderr is not a terminal."""
    hidden = not sys.stderr.isatty()
    return click.progressbar(length=count, label="revoking", file=sys.stderr, hidden=hidden)


def _report(invocation: Invocation, done: BulkRevocation) -> int:
    document: dict[str, Any] = {
        "client": done.client_id,
        "revoked": done.revoked,
        "already_revoked": done.already,
        "failed": [{"kid": kid, "error": why} for kid, why in done.failed.items()],
    }
    counts = f"{len(done.revoked)} revoked, {done.already} already revoked"
    text = f"client {done.client_id}: {counts}, {len(done.failed)} failed"
    invocation.answer(document, text)
    if not invocation.as_json:
        for kid, why in done.failed.items():
            write_stderr(escaped(f"not revoked: {kid}: {why}"))
    if not (done.revoked or done.already or done.failed):
        write_stderr(f"authz: client {done.client_id} has no keys; see `authz keys list`")
        return FAILED
    return FAILED if done.failed else DONE
