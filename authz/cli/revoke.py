"""`authz keys revoke`: one key by its kid or its text, or all keys that a selector picks."""

from typing import TYPE_CHECKING, Final

import click

from authz.cli.administration import load_settings, with_session
from authz.cli.invocation import Invocation, common
from authz.cli.options import note_option, optional_kid_argument
from authz.cli.outcome import make_change, report_change
from authz.cli.over_api import is_over_api, verify_over_api
from authz.cli.reasons import Reason
from authz.cli.selecting import selector_options
from authz.cli.stdin_key import ANY_PREFIX, any_prefix, key_from_stdin
from authz.cli.task import DONE, Consent, Task, bulk_options
from authz.cli.waiting import wait_options
from authz.core.edits import Revoke
from authz.core.errors import BadInput, BadSeal, NotFound
from authz.core.keys.credentials import Imported, Presented
from authz.core.keys.keyring import Keyring
from authz.core.keys.pasted import named_kid
from authz.core.keys.text import KID_PATTERN
from authz.core.records import RevocationReason
from authz.core.selector import Selector
from authz.wiring import administration

if TYPE_CHECKING:
    from authz.wiring.verification import AdminSession

NOT_OURS: Final = "stdin: not a key of this installation"
NO_FORM: Final = f"{NOT_OURS}: prefix_env_kid_body"
NO_KID: Final = "the alias of this key in the store holds no kid, so nothing is revoked"
CUT_OFF: Final = "is mistyped or cut off"
WRONG_CHECKSUM: Final = f"{CUT_OFF}: its checksum is wrong"
WRONG_TAG: Final = "was not made here: its tag is wrong"
UNKNOWN: Final = (
    "stdin: no key was imported with this text, so nothing is revoked; "
    "`authz keys list --client ID` shows a client's keys"
)
FORGOTTEN: Final = (
    "whose record does not have it: after 5 rotations or 30 days a record forgets a secret, "
    "or somebody altered the store"
)


@click.command()
@optional_kid_argument
@click.option("--key-stdin", is_flag=True, help="Read the key itself from stdin.")
@selector_options
@bulk_options
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
    selector: Selector,
    reason: str,
    note: str,
    wait_seconds: float | None,
    key_stdin: bool,
    consent: Consent,
) -> int:
    """Revoke a key, for ever. A revoked key cannot be enabled again.

    Conditions such as --client revoke all keys that fit all of them, also keys that are issued
    meanwhile. The command asks for confirmation with their number. If one key cannot be revoked, it
    continues with the others and exits with 1. It also exits with 1 if no key fits. --reason leaked
    stands for key_compromise. --key-stdin revokes an imported key only if its record has this
    secret; else the error names the kid.

    \b
    Examples:
      authz keys revoke 7Hk2mQ9xT4bVzR1c --reason key_compromise --note "found on a public page"
      authz keys revoke 7Hk2mQ9xT4bVzR1c --wait
      authz keys revoke --key-stdin --reason key_compromise < leaked.txt
      authz keys revoke --client acme-web --reason cessation_of_operation
      authz keys revoke --client acme-web --yes --wait --json | jq .failed
      authz keys revoke --status disabled --expires-before 0 --dry-run
    """
    if (kid is not None) + key_stdin + (not selector.is_empty) != 1:
        raise click.UsageError("give one of KID, --key-stdin, and conditions such as --client")
    if (consent.agreed or consent.rehearsal) and selector.is_empty:
        option = "--yes" if consent.agreed else "--dry-run"
        raise BadInput(option, "is for --client and other conditions; one key is revoked at once")
    why = RevocationReason(reason)
    if not selector.is_empty:
        from authz.cli.bulk import change_selected  # noqa: PLC0415  for many keys alone

        task = Task(
            Revoke(why),
            *("revoke", "revoking", "revoked", "already revoked", ", for ever"),
            keeps_looking=True,
        )
        return change_selected(
            invocation,
            selector,
            task,
            consent,
            note=note,
            wait_seconds=wait_seconds,
        )
    if key_stdin:
        if is_over_api(invocation):
            kid = _kid_over_api(invocation, key_from_stdin("the key to revoke", ANY_PREFIX).text)
        else:
            prefix = any_prefix(load_settings(invocation).keys)
            kid = _kid_of(invocation, key_from_stdin("the key to revoke", prefix).text, prefix)
    found = kid or ""
    report_change(invocation, make_change(invocation, found, Revoke(why), note, wait_seconds))
    return DONE


def _kid_of(invocation: Invocation, text: str, prefix: str) -> str:
    """Return the kid of a key that was made or imported here.

    prefix: a pattern for key prefixes. Only for an imported key the store is asked. Raises
    ClickException for a damaged, forged or unknown key, and the errors of `with_session`.
    """
    ring = administration.keyring(load_settings(invocation))
    if presented := ring.parse(text):
        return _genuine_kid(presented, ring)
    if kid := named_kid(text, prefix):
        raise _not_proven(kid, CUT_OFF)
    if imported := ring.parse_imported(text):
        return with_session(invocation, lambda session: _imported_kid(session, imported))
    raise click.ClickException(NO_FORM)


def _kid_over_api(invocation: Invocation, text: str) -> str:
    """Return the kid of a key that the server knows as made or imported there.

    Raises ClickException for a damaged, forged or unknown key.
    """
    from authz.core.decision import Reason as Denial  # noqa: PLC0415  over the API alone

    view = verify_over_api(invocation, text)
    kid = named_kid(text, ANY_PREFIX)
    if view.kid is not None:
        # A key that names its kid has a tag, which the server has checked. Another one was found by
        # its alias, which proves nothing.
        is_wrong = any(row.reason is Denial.WRONG_SECRET for row in view.rows)
        if is_wrong and view.kid != kid:
            raise _led_to(view.kid, FORGOTTEN)
        return view.kid
    failed = next((row for row in view.rows if row.result == "deny"), None)
    check = failed.check if failed else ""
    if failed and check == "known" and failed.reason is Denial.UNAVAILABLE:  # not readable
        if kid:
            return kid
        raise click.ClickException(f"stdin: nothing is revoked: {failed.why}")
    if check == "known" and kid:
        raise NotFound(f"no key has the kid {kid}")
    if check == "known":
        raise click.ClickException(UNKNOWN)
    if not kid:
        raise click.ClickException(NO_FORM)
    if check == "tag":
        is_forged = failed is not None and failed.reason is Denial.FORGED
        lacks = "was made with a pepper that keys.peppers does not hold"
        raise _not_proven(kid, WRONG_TAG if is_forged else lacks)
    raise _not_proven(kid, WRONG_CHECKSUM if check == "checksum" else CUT_OFF)


async def _imported_kid(session: "AdminSession", imported: Imported) -> str:
    if session.imports is None:
        raise click.ClickException(f"{NOT_OURS}, and none were imported here")
    from authz.flows.verify import is_proven, resolve  # noqa: PLC0415

    alias = await resolve(session.imports, imported)
    if alias is None:
        raise click.ClickException(UNKNOWN)
    if not KID_PATTERN.fullmatch(alias.kid):
        raise click.ClickException(f"stdin: {NO_KID}")
    try:
        record = await session.keys.find(alias.kid)
    except BadSeal as cause:
        raise _led_to(alias.kid, f"and {cause}") from None
    if record is None:
        raise NotFound(f"no key has the kid {alias.kid}")
    if not is_proven(record, imported):
        raise _led_to(alias.kid, FORGOTTEN)
    return alias.kid


def _genuine_kid(presented: Presented, ring: Keyring) -> str:
    """Return the kid of a key that was made here.

    Raises ClickException if its pepper is not in keys.peppers, or its checksum or tag is wrong.
    """
    kid, flaw = presented.kid, presented.flaw()
    if presented.pepper_version not in ring.fingerprints:
        why = f"was made with pepper {presented.pepper_version}, which keys.peppers does not hold"
    elif flaw == "checksum":
        why = WRONG_CHECKSUM
    elif flaw == "tag":
        why = WRONG_TAG
    else:
        return kid
    raise _not_proven(kid, why)


def _led_to(kid: str, why: str) -> click.ClickException:
    return click.ClickException(
        f"stdin: nothing is revoked: the store leads from this key to {kid}, {why}; "
        f"if {kid} is the one you mean, `authz keys revoke {kid}`"
    )


def _not_proven(kid: str, why: str) -> click.ClickException:
    return click.ClickException(
        f"stdin: the key {why}, so nothing is revoked; it names {kid}: "
        f"if that is the one you mean, `authz keys revoke {kid}`"
    )
