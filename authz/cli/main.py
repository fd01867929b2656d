"""The command line: the commands, and the message and exit code of each failure.

This module imports nothing heavy, so `authz --version` and a usage error answer at once.
"""

import atexit
import gc
import io
import os
import re
import sys
import traceback
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Final

import click

from authz import __version__
from authz.cli import color, outline
from authz.cli.invocation import (
    Invocation,
    choose_color,
    common,
    keep,
    show_help,
    write_error,
    write_stdout,
)
from authz.cli.loading import load_command
from authz.cli.over_api import is_over_api
from authz.cli.terminal import escaped
from authz.core.errors import (
    BadInput,
    BadSettings,
    Deleted,
    Fault,
    Forbidden,
    NotFound,
    OutcomeUnknown,
    Unavailable,
)
from authz.process import hot_path

REFUSED, MISUSED, UNAVAILABLE, BUG, INTERRUPTED = 1, 2, 3, 70, 130
MAX_MESSAGE: Final = 400
GC_OBJECTS: Final = 100_000  # made before garbage is looked for
MAX_LINES: Final = 20
STDERR: Final = 2

COMMANDS: Final = (
    *("init", "serve", "admin", "meter", "keys", "tokens", "apply", "diff", "audit", "sidecars"),
    *("usage", "scan", "abuse", "events", "config", "doctor", "backup", "restore", "reseal"),
    *("compact", "envoy", "healthcheck", "dev", "completion"),
)

OF_KEYS: Final = (
    *("create", "delete", "disable", "enable", "history", "import", "issue", "list", "retire"),
    *("revoke", "rollback", "rotate", "show", "update", "verify"),
)
HINTS: Final = {name: f"it is `authz keys {name}`" for name in OF_KEYS}

# Failures to use the store that can hide others.
HIDING: Final = re.compile(r"keys\.peppers: |redis\.|the store cannot be used: it (wants|knows)")

# Every process of the machine can read arguments, and the shell keeps them in its history.
_KEY: Final = re.compile(
    r"[a-z][a-z0-9]{1,11}_(live|test)_[0-9A-Za-z]{16}_[0-9A-Za-z]{8}", re.ASCII
)


class Commands(click.Group):
    """Load each command from the module of its name, and only when it is used."""

    hints = HINTS

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands in the order of `--help`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command and return the command; None if the name is unknown.

        Raises UsageError with a hint for a name in HINTS, except during shell completion.
        """
        if cmd_name in HINTS and not ctx.resilient_parsing:
            raise click.UsageError(f"no such command '{cmd_name}': {HINTS[cmd_name]}", ctx)
        if cmd_name not in COMMANDS:
            return None
        return load_command(cmd_name, cmd_name)


def _version(context: click.Context, _parameter: click.Parameter, given: bool) -> None:
    if given and not context.resilient_parsing:
        compiled = " (hot path compiled)" if hot_path.form() == hot_path.COMPILED else ""
        write_stdout(f"authz {__version__}{compiled}")
        context.exit()


# Options whose values count before the command is known: the last ones for completion.
EAGER: Final[outline.Eager] = {
    "help": show_help,
    "version": _version,
    "color": choose_color,
    "config": keep,
    "redis": keep,
    "admin": keep,
    "admin_token_file": keep,
}


@click.group(cls=Commands, invoke_without_command=True, no_args_is_help=False)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version.",
)
@common
@click.pass_context
def cli(context: click.Context) -> None:
    """API-key authorization for Envoy.

    Flags win over the environment, the environment over the settings file. The variable of
    redis.url is AUTHZ_REDIS__URL. --config, --redis, --admin, --admin-token-file, --json, --color
    and --debug may stand before or after a command.

    \b
    Exit codes: 0 done, 1 refused or not found, 2 wrong usage or settings,
    3 store unreachable, store of another installation, or a change that was not confirmed.

    \b
    Examples:
      authz init
      authz serve
      authz keys issue --client acme-web --scope models:generate
    """
    if context.invoked_subcommand is None:
        write_stdout(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; write the message of a failure to stderr.

    arguments: default to those of the process. Exit codes: 0 done, 1 refused or not found, 2 wrong
    usage or settings, 3 unavailable or unconfirmed, 70 a bug, 130 interrupted. A key in an argument
    is wrong usage.
    """
    if arguments is None:
        arguments = sys.argv[1:]
        gc.set_threshold(GC_OBJECTS)  # an import makes many objects that stay
        atexit.register(gc.freeze)  # the process would look for garbage once more as it ends
        warnings.simplefilter("ignore")
    invocation = Invocation()
    color.choose(_color(arguments))
    try:
        _prepare_streams()
        _refuse_keys(arguments)
        answered = outline.answer(arguments, "authz", EAGER)
        if answered is not None:
            return answered
        code = cli.main(arguments, prog_name="authz", standalone_mode=False, obj=invocation)
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BadSettings as cause:
        return _fail_each(MISUSED, list(map(str, cause.mistakes)))
    except (BadInput, Unavailable) as cause:
        code, message = _explained(cause)
        return _fail_each(code, _causes(invocation, cause, message))
    except (click.ClickException, Fault) as cause:
        return _fail(*_explained(cause))
    except Exception as cause:  # noqa: BLE001  never a traceback
        if invocation.debug:
            traceback.print_exc()
        return _fail(BUG, f"{type(cause).__name__}: this is a bug; --debug shows where it is")
    return int(code or 0)


def _explained(cause: click.ClickException | Fault) -> tuple[int, str]:
    match cause:
        case click.UsageError():
            message = " ".join(cause.format_message().split()).rstrip(".")
            command = cause.ctx.command_path if cause.ctx else "authz"
            see = " See" if message.endswith("?") else "; see"
            return MISUSED, f"{message[:1].lower()}{message[1:]}{see} `{command} --help`"
        case click.ClickException() | NotFound() | Deleted() | Forbidden():
            return REFUSED, str(cause)
        case BadInput():
            return MISUSED, str(cause)
        case OutcomeUnknown():
            look = "it may have been made: look with `authz keys show` before you try again"
            return UNAVAILABLE, f"{cause}; {look}"
        case _:
            return UNAVAILABLE, str(cause)


def _fail(code: int, message: str) -> int:
    line = escaped(message[: MAX_MESSAGE + 1])
    if len(line) > MAX_MESSAGE:
        line = f"{line[: MAX_MESSAGE - 3]}..."
    write_error(line)
    return code


def _fail_each(code: int, lines: Sequence[str]) -> int:
    """Write each line to stderr, at most MAX_LINES (20), and return `code`."""
    for line in lines[:MAX_LINES]:
        _fail(code, line)
    if (more := len(lines) - MAX_LINES) > 0:
        _fail(code, f"and {more} more")
    return code


def _causes(invocation: Invocation, cause: Fault, message: str) -> list[str]:
    """Return a line for each cause of a store that cannot be used, else the message alone."""
    if message != str(cause) or not HIDING.match(message) or is_over_api(invocation):
        return [message]
    found: list[str] = import_module("authz.cli.causes").all_causes(invocation, cause)
    return found


def _prepare_streams() -> None:
    """Occupy descriptors 0, 1 and 2: a file opened later must not become stdout or stderr.

    A closed stderr becomes /dev/null. Raises BadInput if stdout is closed. Stdout escapes
    characters that its encoding lacks.
    """
    while (spare := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        pass
    os.close(spare)
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    if sys.stdout is None:
        raise BadInput("stdout", "is closed; the answer would be lost")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(
            errors="backslashreplace"
        )  # the terminal may lack a character of a name


def _color(arguments: Sequence[str]) -> str:
    """Return the choice of --color, also for an error before the option is read."""
    chosen = color.WHEN[0]
    for name, value in zip(arguments, (*arguments[1:], ""), strict=False):
        option, equals, rest = name.partition("=")
        given = rest if equals else value
        if option == "--color" and given in color.WHEN:
            chosen = given
    return chosen


def _refuse_keys(arguments: Sequence[str]) -> None:
    if any(_KEY.search(argument) for argument in arguments):
        problem = "contains a key. Other users and the shell history can see it: rotate the key"
        raise BadInput("the command line", f"{problem}. Commands take the kid, its third part")


if __name__ == "__main__":
    sys.exit(main())
