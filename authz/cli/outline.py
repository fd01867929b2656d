"""The outline of all commands: their names, options and help, without the code behind them.

Help, completion and wrong usage need no more, so they answer without the imports of a command. The
outline is the file outline.json, which `make docs` writes from the commands.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click

from authz.cli.invocation import Invocation

FILE: Final = "outline.json"
STORE_VARIABLE: Final = "AUTHZ_COMPLETE_STORE"

Eager = Mapping[str, Callable[..., None]]
_KEPT: Final = ("help", "metavar", "required", "multiple", "hidden", "show_default", "default")


class OutlinedCommand(click.Command):
    """A command without the code behind it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words. Each UsageError names this command: click's parser names none."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as cause:
            cause.ctx = cause.ctx or ctx
            raise


class OutlinedGroup(OutlinedCommand, click.Group):
    """A group that makes the outline of a command only when it is used."""

    def __init__(self, about: Mapping[str, Any], eager: Eager, **settings: Any) -> None:
        # click suggests a similar name among these.
        super().__init__(
            commands={name: click.Command(name) for name in about["commands"]}, **settings
        )
        self._about = about
        self._eager = eager

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order of `--help`."""
        return list(self._about["commands"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the outline of a command by its name or alias, or None if there is none.

        Raises UsageError with a hint for a name of another tool, except during shell completion.
        """
        hint = self._about.get("hints", {}).get(cmd_name)
        if hint and not ctx.resilient_parsing:
            raise click.UsageError(f"no such command '{cmd_name}': {hint}", ctx)
        name = self._about.get("aliases", {}).get(cmd_name, cmd_name)
        found = self._about["commands"].get(name)
        return None if found is None else built(name, found, self._eager)


def answer(arguments: Sequence[str], name: str, eager: Eager) -> int | None:
    """Answer help, completion and `name` alone. Return the exit code, or None to run the command.

    eager: callbacks of the options that answer by themselves, such as `help`. Raises UsageError for
    wrong usage, SystemExit after a completion.
    """
    about = json.loads(Path(__file__).with_name(FILE).read_text())
    root = built(name, about, eager)
    given = list(arguments) or ["--help"]
    code = root.main(given, prog_name=name, standalone_mode=False)
    return None if code is _RUN else int(code or 0)


def described(command: click.Command, context: click.Context) -> dict[str, Any]:
    """Return the outline of a command and of all its subcommands, as JSON members."""
    found: dict[str, Any] = {"help": command.help, "params": list(map(_param, command.params))}
    if isinstance(command, click.Group):
        found |= {"bare": command.invoke_without_command, "commands": {}}
        found |= {name: dict(getattr(command, name, {})) for name in ("aliases", "hints")}
        for name in command.list_commands(context):
            part = command.get_command(context, name)
            if part is not None:
                inner = click.Context(part, parent=context, info_name=name)
                found["commands"][name] = described(part, inner)
    return found


def built(name: str, about: Mapping[str, Any], eager: Eager) -> click.Command:
    """Return the command of an outline. Its callback does no work and returns _RUN."""
    settings: dict[str, Any] = {
        "name": name,
        "help": about["help"],
        "params": [_built_param(param, eager) for param in about["params"]],
        "add_help_option": False,
        "callback": _run,
    }
    if "commands" not in about:
        return OutlinedCommand(**settings)
    bare = about["bare"]
    return OutlinedGroup(
        about, eager, invoke_without_command=bare, no_args_is_help=False, **settings
    )


class _OpenChoice(click.Choice[str]):
    """A choice whose command takes more words than it shows."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the word unchanged: the command checks it."""
        return str(value)


def _from_store(kind: str) -> Callable[..., list[str]]:
    """Return a completion function for click, which asks the store. kind: `kid` or `client`.

    It returns no words unless AUTHZ_COMPLETE_STORE is 1, and none after any fault: a shell shows
    nothing, and the command tells it later.
    """

    def complete(context: click.Context, _param: click.Parameter, beginning: str) -> list[str]:
        if os.environ.get(STORE_VARIABLE) != "1":
            return []
        invocation = context.find_object(Invocation) or Invocation()
        with suppress(Exception):
            stored = import_module("authz.cli.stored_words").stored_words
            words: list[str] = stored(kind, invocation, beginning)
            return words
        return []

    return complete


_RUN: Final = object()


def _run(**_given: object) -> object:
    return _RUN


def _param(param: click.Parameter) -> dict[str, Any]:
    found: dict[str, Any] = {"name": param.name, "opts": [*param.opts, *param.secondary_opts]}
    found["slashed"] = bool(param.secondary_opts)
    found |= {name: getattr(param, name, None) for name in _KEPT}
    if callable(found["default"]) or not _is_plain(found["default"]):
        found["default"] = None
    found["flag"] = isinstance(param, click.Option) and param.is_flag
    found["argument"] = isinstance(param, click.Argument)
    found["nargs"] = param.nargs if found["argument"] and param.nargs != 1 else None
    found["exposed"] = param.expose_value
    if isinstance(param.type, click.Choice):
        found["choices"] = list(map(str, param.type.choices))
        found["open"] = type(param.type) is not click.Choice
        found["folds"] = not param.type.case_sensitive
    # The file stays small without the members that are usual.
    return {key: value for key, value in found.items() if value not in (None, False, [], "")}


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _built_param(about: Mapping[str, Any], eager: Eager) -> click.Parameter:
    kind: Any = None
    if "choices" in about:
        choice = _OpenChoice if about.get("open") else click.Choice
        kind = choice(about["choices"], case_sensitive=not about.get("folds", False))
    shared: dict[str, Any] = {
        "metavar": about.get("metavar"),
        "required": about.get("required", False),
        "expose_value": about.get("exposed", False),
    }
    if about["name"] == "kid":
        shared["shell_complete"] = _from_store("kid")
    if about.get("argument"):
        return click.Argument([about["name"]], type=kind, nargs=about.get("nargs", 1), **shared)
    if "default" in about:  # None would count as a value
        shared["default"] = about["default"]
    opts = ["/".join(about["opts"])] if about.get("slashed") else about["opts"]
    name = about["name"]
    is_flag = about.get("flag", False)
    callback = eager.get(name) if not shared["expose_value"] else None
    if "--client" in opts:
        shared["shell_complete"] = _from_store("client")
    return click.Option(
        [*opts, name],
        type=None if is_flag else kind,
        help=about.get("help"),
        multiple=about.get("multiple", False),
        hidden=about.get("hidden", False),
        show_default=about.get("show_default"),
        is_flag=is_flag or None,  # False would let a value be left out
        is_eager=callback is not None,
        callback=callback,
        **shared,
    )
