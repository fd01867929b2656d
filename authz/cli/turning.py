"""`authz keys disable` and `authz keys enable`."""

from typing import Any, Final

import click

from authz.cli.invocation import Invocation, common
from authz.cli.options import note_option, optional_kid_argument
from authz.cli.outcome import make_change, report_change
from authz.cli.selecting import required, selector_options
from authz.cli.task import DONE, Consent, Task, bulk_options
from authz.cli.waiting import wait_options
from authz.core.edits import Disable, Enable
from authz.core.selector import Selector

_DISABLE: Final = Task(Disable(), "disable", "disabling", "disabled", "already disabled")
_ENABLE: Final = Task(Enable(), "enable", "enabling", "enabled", "already active")


@click.command()
@optional_kid_argument
@selector_options
@bulk_options
@note_option
@wait_options
@common
@click.pass_obj
def disable(invocation: Invocation, /, **asked: Any) -> int:
    """Disable a key until it is enabled again.

    Without KID, all keys that fit the conditions are changed, after a confirmation.

    \b
    Examples:
      authz keys disable 7Hk2mQ9xT4bVzR1c --note "unpaid"
      authz keys disable --plan free --expires-before 7d --dry-run
    """
    return _turn(invocation, _DISABLE, **asked)


@click.command()
@optional_kid_argument
@selector_options
@bulk_options
@note_option
@wait_options
@common
@click.pass_obj
def enable(invocation: Invocation, /, **asked: Any) -> int:
    """Enable a disabled key.

    Without KID, all keys that fit the conditions are changed, after a confirmation.

    \b
    Examples:
      authz keys enable 7Hk2mQ9xT4bVzR1c
      authz keys enable --client acme-web --status disabled --yes
    """
    return _turn(invocation, _ENABLE, **asked)


def _turn(
    invocation: Invocation,
    task: Task,
    *,
    kid: str | None,
    selector: Selector,
    note: str,
    wait_seconds: float | None,
    consent: Consent,
) -> int:
    required(selector, kid)
    if kid is None:
        from authz.cli.bulk import change_selected  # noqa: PLC0415  for many keys alone

        return change_selected(
            invocation, selector, task, consent, note=note, wait_seconds=wait_seconds
        )
    report_change(invocation, make_change(invocation, kid, task.edit, note, wait_seconds))
    return DONE
