"""The reference of commands, from click: help, examples, arguments and options of each."""

import inspect
import re
from typing import Final

import click

from authz.cli.main import cli
from tests.support.cli.commands import commands as every_command

HEAD: Final = "| option | meaning |\n| --- | --- |\n"
SHARED: Final = {name for option in cli.params for name in option.opts} | {"--help", "-h"}


def commands() -> str:
    """Return the options that all commands share, and a section for each command."""
    shared = "### Options of every command\n\n" + _table(
        [option for option in cli.params if isinstance(option, click.Option)]
    )
    return "\n\n".join(
        [shared, *(_section(path, command) for path, command in every_command() if path)]
    )


def _section(path: tuple[str, ...], command: click.Command) -> str:
    text, examples = _help(command)
    parts = [f"### `{' '.join(('authz', *path))}`", text]
    if examples:
        parts.append(f"```console\n{examples}\n```")
    options = [
        option
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden and not SHARED & set(option.opts)
    ]
    if options and not isinstance(command, click.Group):
        parts.append(_table(options))
    return "\n\n".join(parts)


def _help(command: click.Command) -> tuple[str, str]:
    """Return the paragraphs of a command's help, and its examples with a prompt."""
    text = inspect.cleandoc(command.help or "").replace("\b\n", "")
    words, _, examples = text.partition("Examples:\n")
    lines = [line.strip() for line in re.sub(r" \|\n +", " | ", examples).splitlines()]
    shown = "\n".join(f"$ {re.split(r'  +', line)[0]}" for line in lines if line)
    return words.strip(), shown


def _table(options: list[click.Option]) -> str:
    return HEAD + "\n".join(_row(option) for option in options)


def _row(option: click.Option) -> str:
    context = click.Context(cli)
    names = ", ".join(f"`{name}`" for name in option.opts)
    if not option.is_flag:
        names += f" `{_value(option, context)}`"
    extra = option.get_help_extra(context)
    words = [option.help or ""]
    if "default" in extra:
        words.append(f"Default: `{extra['default']}`.")
    if option.required:
        words.append("Required.")
    return f"| {names} | {' '.join(words)} |".replace("\n", " ")


def _value(option: click.Option, context: click.Context) -> str:
    if isinstance(option.type, click.Choice):
        return " \\| ".join(map(str, option.type.choices))
    return option.make_metavar(context)
