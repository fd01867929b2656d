"""All commands, and a check whether a written line is one of them."""

import shlex
from collections.abc import Iterator

import click

from authz.cli.main import cli

A_KID = "7Hk2mQ9xT4bVzR1c"
SHELL = {"|", "||", "&&", ";", "&", ">", ">>", "<", "2>"}


def commands(
    command: click.Command = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command with the words that name it."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from commands(inner, (*path, name))


def places() -> dict[str, tuple[str, ...]]:
    """Every place for text on a command line, as the words before that text.

    The options of all commands are taken at one of them: the same code reads them everywhere.
    """
    shared = {name for option in cli.params for name in option.opts}
    found = {"authz": (), "authz keys": ("keys",), "authz init": ("init",)}
    found |= {f"authz init {name}": ("init", name) for name in ("--config", "--redis")}
    for path, command in commands():
        needed = tuple(word for option in command.params for word in _needed(option))
        for option in command.params:
            name = option.opts[0]
            where = " ".join(("authz", *path, name))
            if isinstance(option, click.Argument):
                found[where] = path
            elif isinstance(option, click.Option) and not option.is_flag and name not in shared:
                found[where] = (*path, *(() if _needed(option) else needed), name)
    return found


def _needed(option: click.Parameter) -> tuple[str, ...]:
    """Return the words without which a command is incomplete."""
    if not option.required:
        return ()
    return (A_KID,) if isinstance(option, click.Argument) else (option.opts[0], "acme-web")


def misunderstood(line: str) -> str:
    """The word that is wrong in a line that begins with `authz`; empty when all is well.

    A word in capitals stands for what the reader puts there.
    """
    command: click.Command = cli
    options = _options(cli)
    words = iter(shlex.split(line, comments=True)[1:])
    for word in words:
        name, equals, _ = word.partition("=")
        if word in SHELL or (isinstance(command, click.Group) and word.isupper()):
            break
        if name.startswith("-"):
            if name not in options:
                return word
            if not options[name] and not equals:
                next(words, None)
        elif isinstance(command, click.Group):
            inner = command.get_command(click.Context(command), word)
            if inner is None:
                return word
            command, options = inner, options | _options(inner)
    return ""


def _options(command: click.Command) -> dict[str, bool]:
    """Return the options of a command, and whether each takes no value."""
    found = {
        name: option.is_flag
        for option in command.params
        if isinstance(option, click.Option)
        for name in option.opts
    }
    return found | {"--help": True, "-h": True}
