"""--help of every command explains it with examples."""

import re

import click
import pytest

from authz import __version__
from authz.core import policy
from tests.support.cli.commands import commands, misunderstood
from tests.support.cli.terminal import run

COMMON = ("--config", "--redis", "--json", "--debug", "--help")


OURS = [path for path, _ in commands() if path[:1] != ("dev",)]


@pytest.mark.parametrize("path", [path for path, _ in commands()], ids=" ".join)
def test_a_command_explains_itself_with_examples(path: tuple[str, ...]) -> None:
    """Help has a sentence, examples that begin with the command, and its options."""
    outcome = run(*path, "--help")
    assert outcome.code == 0
    assert outcome.err == ""
    assert outcome.out == run(*path, "-h").out
    assert f"Usage: {' '.join(('authz', *path))} " in outcome.out
    assert re.search(rf"Examples:\n {{4}}{' '.join(('authz', *path))}", outcome.out)


@pytest.mark.parametrize("path", OURS, ids=" ".join)
def test_every_command_takes_what_all_commands_take(path: tuple[str, ...]) -> None:
    """Every command has --config, --redis and --json."""
    outcome = run(*path, "--help")
    assert all(option in outcome.out for option in COMMON)


@pytest.mark.parametrize("path", [(), ("keys",)], ids=["authz", "keys"])
def test_the_list_of_commands_says_what_each_does(path: tuple[str, ...]) -> None:
    """The summary of each command is a sentence that fits on a line of 80 columns."""
    _, _, listed = run(*path, "--help").out.partition("Commands:\n")
    assert listed
    assert all(line.endswith(".") and "..." not in line for line in listed.splitlines())


@pytest.mark.parametrize("path", [path for path, _ in commands()], ids=" ".join)
def test_every_option_is_explained(path: tuple[str, ...]) -> None:
    """Every option has a help text, a choice or a default."""
    command = dict(commands())[path]
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            explained = option.help or isinstance(option.type, click.Choice)
            assert explained, f"{option.opts[0]} of {' '.join(path)}"


@pytest.mark.parametrize("path", [path for path, _ in commands()], ids=" ".join)
def test_the_examples_are_commands(path: tuple[str, ...]) -> None:
    """The examples in help use existing commands and options."""
    shown = re.findall(r"^ {4}(authz .*?)(?:$| \| | {3})", run(*path, "--help").out, re.MULTILINE)
    assert shown
    assert not [word for line in shown if (word := misunderstood(line))]


def test_the_version_is_shown() -> None:
    """`authz --version` prints name and version, and whether the hot path is compiled."""
    compiled = "" if policy.__file__.endswith(".py") else " (hot path compiled)"
    assert run("--version").out == f"authz {__version__}{compiled}\n"
