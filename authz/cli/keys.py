"""`authz keys`: issue, inspect, change and revoke keys."""

from typing import Final

import click

from authz.cli.invocation import common
from authz.cli.loading import load_command

MODULES: Final = {
    "delete": "delete:delete",
    "disable": "turning:disable",
    "due": "due:due",
    "enable": "turning:enable",
    "export": "export:export",
    "history": "history:history",
    "import": "importing:import_",
    "issue": "issue:issue",
    "limits": "limits:limits",
    "list": "listing:list_",
    "purge": "delete:purge",
    "reset-limits": "limits:reset_limits",
    "refund": "limits:refund",
    "retire": "rotate:retire",
    "rollback": "rotate:rollback",
    "revoke": "revoke:revoke",
    "rotate": "rotate:rotate",
    "show": "show_key:show_",
    "update": "update:update",
    "verify": "verify:verify",
}
ALIASES: Final = {"create": "issue"}
HINTS: Final = {
    **dict.fromkeys(
        ("remove", "rm"),
        "`authz keys revoke KID` ends a key, `authz keys delete KID` removes a dead one for ever",
    ),
    "get": "`authz keys show KID` prints a record",
    "ls": "`authz keys list` lists keys",
    "roll": "`authz keys rotate KID` gives a key a new secret",
}


class KeyCommands(click.Group):
    """The commands of `authz keys`, with an alias and hints for names of other tools.

    Each is imported from the module of MODULES, and only when it is used.
    """

    aliases = ALIASES
    hints = HINTS

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands in the order of `--help`."""
        return list(MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a name or an alias, or None if there is none.

        Raises UsageError with a hint for a name in HINTS, except during shell completion.
        """
        if cmd_name in HINTS and not ctx.resilient_parsing:
            raise click.UsageError(f"no such command '{cmd_name}': {HINTS[cmd_name]}", ctx)
        place = MODULES.get(ALIASES.get(cmd_name, cmd_name))
        if place is None:
            return None
        module, _, name = place.partition(":")
        return load_command(module, name)


@click.group(cls=KeyCommands, no_args_is_help=False)
@common
def keys() -> None:
    """Issue, inspect, change and revoke keys.

    Commands name a key by its kid, the third part of its text. The audit trail records each change
    and its author: $AUTHZ_ACTOR, else user@host.

    \b
    Examples:
      authz keys issue --client acme-web
      authz keys revoke 7Hk2mQ9xT4bVzR1c --reason key_compromise
    """
