"""What every command is told, and how it answers.

Manners:
1. What was asked for goes to stdout, all else to stderr. With --json, stdout is one JSON document.
2. An error is one line on stderr: what is wrong and what to do. Never a traceback.
3. A key is written to stdout, once, and nowhere else.
"""

import contextlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import click

from authz.core.errors import Unavailable

CLOSED_PIPE: Final = 141  # what a shell reports for a process that SIGPIPE ended
LOST: Final = "; the command was carried out, only its answer is lost"

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(slots=True)
class Invocation:
    """The options that every command takes, before or after its name; the nearest wins."""

    config: str | None = None
    redis: str | None = None
    as_json: bool = False
    debug: bool = False

    def answer(self, document: dict[str, Any], text: str) -> None:
        """The result, in the form that was asked for."""
        write_stdout(json.dumps(document) if self.as_json else text, LOST)


def common(command: _Command) -> _Command:
    """Give a command the options that all commands take."""
    for option in reversed(_COMMON):
        command = option(command)
    return command


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    invocation = context.ensure_object(Invocation)
    if value is not None and parameter.name:
        setattr(invocation, parameter.name, value)


def _help(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        write_stdout(context.get_help())
        context.exit()


_COMMON: Final = (
    click.option(
        "--config",
        metavar="FILE",
        expose_value=False,
        callback=_keep,
        help="Settings file, in YAML. Else $AUTHZ_CONFIG.",
    ),
    click.option(
        "--redis",
        metavar="URL",
        expose_value=False,
        callback=_keep,
        help="The store. Else redis.url of the settings.",
    ),
    click.option(
        "--json",
        "as_json",
        is_flag=True,
        default=None,
        expose_value=False,
        callback=_keep,
        help="Answer with one JSON document.",
    ),
    click.option(
        "--debug",
        is_flag=True,
        default=None,
        expose_value=False,
        callback=_keep,
        help="Show the traceback of a bug.",
    ),
    click.option(
        "-h",
        "--help",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_help,  # click's own would tell a full disk as a bug
        help="Show this message.",
    ),
)


def write_stdout(text: str, otherwise: str = "") -> None:
    """Write to stdout. Raises Unavailable, which then says `otherwise`, too."""
    try:
        click.echo(text)
    except BrokenPipeError:  # nobody reads any more, as behind `| head`
        _abandon_stdout()
        raise click.exceptions.Exit(CLOSED_PIPE) from None
    except OSError as cause:
        _abandon_stdout()
        raise Unavailable(f"stdout: {cause.strerror}{otherwise}") from None


def write_stderr(text: str) -> None:
    """Write to stderr, for the person who watches, if there is one."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True)


def _abandon_stdout() -> None:
    """Keep the interpreter from flushing what cannot be written once more at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
