"""`authz tokens`: short-lived tokens and the keys that sign them."""

import click

from authz.cli.token_commands import inspect, issue
from authz.cli.token_keys import keys


@click.group()
def tokens() -> None:
    """Exchange keys for short-lived tokens, and rotate the keys that sign them.

    The settings need `tokens.issuer`.

    \b
    Examples:
      authz tokens keys rotate
      authz tokens issue --scope models:read < key.txt
      authz tokens inspect < token.txt
    """


tokens.add_command(issue)
tokens.add_command(inspect)
tokens.add_command(keys)
