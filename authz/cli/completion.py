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

    It completes commands, options and their words. With AUTHZ_COMPLETE_STORE=1 in the environment
    it also completes kids and clients: it asks the store for those of the newest keys, waits for
    at most 0.5 s, and offers at most 50. Ids that a shell could misread are left out.

    \b
    Examples:
      authz completion fish > ~/.config/fish/completions/authz.fish
      eval "$(authz completion bash)"    in ~/.bashrc
      export AUTHZ_COMPLETE_STORE=1      to complete kids and clients, too
      eval "$(authz completion zsh)"     in ~/.zshrc
    """
    found = get_completion_class(shell)
    if found is None:
        raise click.BadParameter(f"one of {', '.join(SHELLS)}", param_hint="SHELL")
    script = found(context.find_root().command, {}, "authz", VARIABLE).source()
    context.ensure_object(Invocation).answer({"shell": shell, "script": script}, script)
