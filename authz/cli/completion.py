"""`authz completion`."""

import click
from click.shell_completion import get_completion_class

from authz.cli.invocation import Invocation, common

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_AUTHZ_COMPLETE"  # the name that click expects


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@common
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a completion script for your shell.

    \b
    Examples:
      authz completion fish > ~/.config/fish/completions/authz.fish
      eval "$(authz completion bash)"    in ~/.bashrc
      eval "$(authz completion zsh)"     in ~/.zshrc
    """
    found = get_completion_class(shell)
    if found is None:
        raise click.BadParameter(f"one of {', '.join(SHELLS)}", param_hint="SHELL")
    script = found(context.find_root().command, {}, "authz", VARIABLE).source()
    context.ensure_object(Invocation).answer({"shell": shell, "script": script}, script)
