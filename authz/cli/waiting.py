"""`--wait`: return when every sidecar has applied the change, or report which has not."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import click

from authz.cli.invocation import with_options, write_error
from authz.cli.terminal import escaped
from authz.core import fields
from authz.core.times import rfc3339

if TYPE_CHECKING:
    from authz.core.delivery import SecretDelivery
    from authz.core.sidecars import Confirmation
    from authz.flows.command_ports import Effect
    from authz.flows.lifecycle import Result

INCOMPLETE: Final = 1

_Command = TypeVar("_Command", bound=Callable[..., Any])


class Waited:
    """The result of a change, and the confirmation of the sidecars with --wait.

    result: None for changes of many keys.
    confirmation: None without --wait, for a refused change, or if the wait failed with `error`.
    delivery: of a rotation that delivers the new secret.
    """

    def __init__(self, result: "Result | None", wait_seconds: float | None) -> None:
        self.result = result
        self.is_waited_for = wait_seconds is not None
        self.confirmation: Confirmation | None = None
        self.error = ""
        self.delivery: SecretDelivery | None = None

    @classmethod
    def of(cls, effect: "Effect", wait_seconds: float | None) -> "Waited":
        """Return the Waited of an effect. wait_seconds: None without --wait."""
        found = cls(effect.result, wait_seconds)
        found.confirmation, found.error = effect.confirmation, effect.problem
        found.delivery = effect.delivery
        return found

    def document(self) -> dict[str, Any]:
        """Return the members to add to the JSON answer: empty without --wait, else `confirmation`.

        Its value is None if the wait failed.
        """
        if not self.is_waited_for:
            return {}
        found = self.confirmation
        if found is None:
            return {"confirmation": None}
        outstanding = [
            {
                "instance": entry.instance,
                "may_allow_until": rfc3339(entry.may_allow_until),
                "over": entry.is_over,
                "doubt": entry.doubt or None,
            }
            for entry in found.outstanding
        ]
        return {
            "confirmation": {
                "complete": found.is_complete,
                "sidecars": found.sidecars,
                "confirmed": found.confirmed,
                "elapsed_ms": found.elapsed_ms,
                "outstanding": outstanding,
            }
        }

    def text(self, verb: str = "allow") -> str:
        """Return the text to add to the result; empty without --wait.

        verb: `allow` or `deny`, the old decision that a late sidecar may still make.
        """
        found = self.confirmation
        if not self.is_waited_for:
            return ""
        if found is None:
            return "; the sidecars did not confirm"
        if not found.sidecars:
            return "; no sidecar is running"
        count = f"; {found.confirmed} of {found.sidecars} sidecars confirmed"
        lines = [f"{count} in {found.elapsed_ms} ms"]
        for entry in found.outstanding:
            may = "could" if entry.is_over else "may"
            until = rfc3339(entry.may_allow_until)
            why = f": {entry.doubt}" if entry.doubt else ""
            lines.append(f"{escaped(entry.instance)} {may} {verb} until {until}{why}")
        return "\n".join(lines)

    def exit_if_incomplete(self) -> None:
        """Print any error to stderr. With --wait, raise Exit(1) if the change is not complete.

        It is complete if no sidecar can act on the old state any more. A failed wait is incomplete.
        """
        if self.error:
            write_error(self.error)
        if self.is_waited_for and not (self.confirmation and self.confirmation.is_complete):
            raise click.exceptions.Exit(INCOMPLETE)


def wait_options(command: _Command) -> _Command:
    """Add `--wait` and `--timeout` to a command. It gets `wait_seconds`: None without --wait.

    The command raises BadInput for a --timeout that is not a duration, also without --wait.
    """

    @functools.wraps(command)
    def with_wait_seconds(*arguments: Any, wait: bool, timeout: str, **options: Any) -> Any:
        wait_seconds = fields.duration_ms("--timeout", timeout) / 1000
        return command(*arguments, wait_seconds=wait_seconds if wait else None, **options)

    options = (
        click.option(
            "--wait", is_flag=True, help="Wait until every sidecar has applied the change."
        ),
        click.option(
            "--timeout",
            metavar="DURATION",
            default="5s",
            show_default=True,
            help="How long to wait; exit 1 if a sidecar has not confirmed.",
        ),
    )
    return cast("_Command", with_options(with_wait_seconds, options))
