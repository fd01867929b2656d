"""Options of every command, and the form of answers.

Rules:
1. The answer goes to stdout, everything else to stderr. With --json, stdout is one JSON document.
2. An error is one line on stderr with its cause and its remedy. Never a traceback.
3. A key is written to stdout, once, and nowhere else.
4. Control characters are escaped. A text from the store stays on its line; see terminal.py.
"""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

import click

from authz.cli import color
from authz.cli.terminal import escaped
from authz.core.errors import Unavailable

CLOSED_PIPE: Final = 141  # what a shell reports for a process that SIGPIPE ended
LOST: Final = "; the command was carried out, only its answer is lost"

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(slots=True)
class Invocation:
    """Options of every command, before or after its name. The nearest wins."""

    config: str | None = None
    redis: str | None = None
    admin: str | None = None
    admin_token_file: str | None = None
    as_json: bool = False
    debug: bool = False

    def answer(self, document: dict[str, Any], text: str) -> None:
        """Print `document` as JSON with --json, else `text`. Raises what `write_stdout` raises."""
        write_stdout(json.dumps(document) if self.as_json else text, LOST)


def common(command: _Command) -> _Command:
    """Add the options of every command to `command`, and return it."""
    return cast("_Command", with_options(command, _COMMON))


def with_options(command: Any, options: Sequence[Callable[[Any], Any]]) -> Any:
    """Return the command with these click options added. Its help lists them in this order."""
    for option in reversed(options):
        command = option(command)
    return command


def keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Set the value of an option in the Invocation of this command; None leaves it unchanged."""
    invocation = context.ensure_object(Invocation)
    if value is not None and parameter.name:
        setattr(invocation, parameter.name, value)


def show_help(context: click.Context, _parameter: click.Parameter, given: bool) -> None:
    """Print the help of a command and end it, if --help is given."""
    if given and not context.resilient_parsing:
        write_stdout(context.get_help())
        context.exit()


def choose_color(_context: click.Context, _parameter: click.Parameter, when: str | None) -> None:
    """Set when this process uses colors, if --color is given."""
    if when is not None:
        color.choose(when)


_COMMON: Final = (
    click.option(
        "--config",
        metavar="FILE",
        expose_value=False,
        callback=keep,
        help="Settings file, in YAML. Default: $AUTHZ_CONFIG.",
    ),
    click.option(
        "--redis",
        metavar="URL",
        expose_value=False,
        callback=keep,
        help="URL of the store. Default: redis.url of the settings.",
    ),
    click.option(
        "--admin",
        metavar="URL",
        expose_value=False,
        callback=keep,
        help="Use this admin API, not the store. Default: $AUTHZ_ADMIN.",
    ),
    click.option(
        "--admin-token-file",
        metavar="FILE",
        expose_value=False,
        callback=keep,
        help="Key or token for --admin. Default: $AUTHZ_ADMIN_TOKEN_FILE.",
    ),
    click.option(
        "--json",
        "as_json",
        is_flag=True,
        default=None,
        expose_value=False,
        callback=keep,
        help="Print one JSON document.",
    ),
    click.option(
        "--color",
        type=click.Choice(color.WHEN),
        expose_value=False,
        callback=choose_color,
        help="Colors. Default: auto, on a terminal without NO_COLOR.",
    ),
    click.option(
        "--debug",
        is_flag=True,
        default=None,
        expose_value=False,
        callback=keep,
        help="Show the traceback of a bug.",
    ),
    click.option(
        "-h",
        "--help",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show_help,  # click's own reports a full disk as a bug
        help="Show this message.",
    ),
)


def write_stdout(text: str, otherwise: str = "") -> None:
    """Write escaped text and a newline to stdout.

    If that fails, raises Unavailable with `otherwise` at the end of its message, and stdout becomes
    /dev/null. If the reader of a pipe has ended, raises Exit(141) instead.
    """
    try:
        click.echo(color.rendered(text, sys.stdout), color=True)  # color: click changes nothing
    except BrokenPipeError:  # the reader has ended, as behind `| head`
        _abandon_stdout()
        raise click.exceptions.Exit(CLOSED_PIPE) from None
    except OSError as cause:
        _abandon_stdout()
        raise Unavailable(f"stdout: {cause.strerror}{otherwise}") from None


def write_stderr(text: str) -> None:
    """Write escaped text and a newline to stderr. Errors of stderr are ignored."""
    with contextlib.suppress(OSError):
        click.echo(color.rendered(text, sys.stderr), err=True, color=True)


def write_warning(text: str, label: str = "warning", paint: str = color.YELLOW) -> None:
    """Write one line to stderr: the label in a color, a colon, and the text, escaped."""
    write_stderr(f"{color.painted(f'{label}:', paint)} {escaped(text)}")


def write_error(text: str, label: str = "authz") -> None:
    """Write one line to stderr: the label in red, a colon, and the text, escaped."""
    write_warning(text, label, color.RED)


def _abandon_stdout() -> None:
    """Point stdout to /dev/null, or the interpreter fails again when it flushes at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
