"""The outline of the commands says what the commands say, without importing them."""

import json
import subprocess
import sys

import click
import pytest

from authz.cli.main import cli, main
from authz.cli.outline import built
from tests.support.cli.commands import commands
from tests.support.cli.terminal import AUTHZ, execute
from tests.support.docs.pages import OUTLINE, outline

HEAVY = ("redis", "grpc", "google.protobuf", "yaml", "authz.core.records")


def outlined(path: tuple[str, ...]) -> click.Context:
    """Return the context of a command of the outline."""
    command = built("authz", json.loads(OUTLINE.read_text()), {})
    context = click.Context(command, info_name="authz")
    for name in path:
        assert isinstance(command, click.Group)
        command = command.get_command(context, name)
        context = click.Context(command, info_name=name, parent=context)
    return context


def test_the_outline_is_current() -> None:
    """`make docs` writes the outline anew when a command or an option changes."""
    assert OUTLINE.read_text() == outline(), "run make docs"


@pytest.mark.parametrize("path", [path for path, _ in commands()], ids=" ".join)
def test_help_is_that_of_the_command(path: tuple[str, ...]) -> None:
    """Each help text from the outline is that of the command itself."""
    command: click.Command = cli
    context = click.Context(cli, info_name="authz")
    for name in path:
        assert isinstance(command, click.Group)
        command = command.get_command(context, name)
        context = click.Context(command, info_name=name, parent=context)
    assert outlined(path).get_help() == context.get_help()


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--help",), 0, ""),
        ((), 0, ""),
        (("keys", "issue", "-h"), 0, ""),
        (("keys", "isue"), 2, "'isue'. Did you mean 'issue'? See `authz keys --help`"),
        (("keys", "ls"), 2, "`authz keys list` lists keys"),
        (("keys", "issue"), 2, "missing option '--client'; see `authz keys issue --help`"),
        (("keys", "create", "--colour"), 2, "no such option"),
        (("keys", "issue", "--client", "a", "--env", "prod"), 2, "'prod' is not one of"),
        (("completion",), 2, "Choose from: bash, zsh, fish; see `authz completion --help`"),
        (("keys", "show"), 2, "missing argument 'KID'"),
        (("serve", "now"), 2, "unexpected extra argument"),
    ],
)
def test_help_and_wrong_usage_import_nothing_heavy(arguments, code, told) -> None:
    """Help and wrong usage answer without settings, store or protocol buffers."""
    script = "import sys; from authz.cli.main import main; code = main(sys.argv[1:]);"
    script += f"print([n for n in {HEAVY!r} if n in sys.modules], file=sys.stderr); sys.exit(code)"
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code
    *lines, imported = done.stderr.splitlines()
    assert imported == "[]"
    assert told in "".join(lines)
    assert bool(done.stdout) is (code == 0)


def test_completion_needs_no_command() -> None:
    """A shell completes commands and options from the outline."""
    done = subprocess.run(
        AUTHZ,
        env={"_AUTHZ_COMPLETE": "bash_complete", "COMP_WORDS": "authz keys rev", "COMP_CWORD": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "plain,revoke\n"


def test_a_command_runs_after_the_outline(no_store) -> None:
    """A command that is used rightly runs, also with options of the group before it."""
    assert execute("--json", "config", "check").code == main(["--json", "config", "check"])
