"""`authz tokens`: short-lived tokens and the keys that sign them."""

import click

from authz.cli.invocation import common
from authz.cli.token_commands import inspect, issue
from authz.cli.token_keys import keys


@click.group(no_args_is_help=False)
@common
def tokens() -> None:
    """Exchange keys for short-lived tokens; rotate signing keys.

    The settings need `tokens.issuer`.

    \b
    Examples:
      authz tokens keys rotate
      authz tokens issue --scope models:read < key.txt
      authz tokens inspect < token.txt
    """


for _command in (issue, inspect, keys):
    tokens.add_command(_command)
