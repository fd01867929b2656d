"""What commands there are, and whether a line that somebody wrote down is one of them."""

import shlex
from collections.abc import Iterator

import click

from authz.cli.main import cli

SHELL = {"|", "||", "&&", ";", "&", ">", ">>", "<", "2>"}


def commands(
    command: click.Command = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command, with the words that name it."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from commands(inner, (*path, name))


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
    """The options of a command, and whether each stands alone."""
    found = {
        name: option.is_flag
        for option in command.params
        if isinstance(option, click.Option)
        for name in option.opts
    }
    return found | {"--help": True, "-h": True}
