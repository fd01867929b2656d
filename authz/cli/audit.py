"""`authz audit`: list, verify, seal and copy the audit trail."""

import click

from authz.cli.audit_list import list_
from authz.cli.audit_ship import ship
from authz.cli.audit_verify import seal, verify
from authz.cli.invocation import common


@click.group(no_args_is_help=False)
@common
def audit() -> None:
    """List, verify, seal and copy the audit trail.

    Each change of a key has an entry with its author, its time and a mark of its writer. A
    checkpoint seals all entries before it.

    \b
    Examples:
      authz audit list --since 24h
      authz audit verify
      authz audit ship --to file:/var/log/authz/audit.jsonl --follow
    """


for _command in (list_, verify, ship, seal):
    audit.add_command(_command)
