"""`authz usage`: who used what."""

from typing import Any

import click

from authz.cli.invocation import Invocation, common
from authz.cli.usage_anomalies import anomalies
from authz.cli.usage_cost import cost
from authz.cli.usage_erase import erase
from authz.cli.usage_export import export
from authz.cli.usage_reconcile import reconcile
from authz.cli.usage_report import print_report, report_options
from authz.cli.usage_top import top
from authz.core.usage.question import By


@click.group(invoke_without_command=True, no_args_is_help=False)
@report_options
@click.option(
    "--by",
    type=click.Choice([by.value for by in By]),
    default=By.DAY.value,
    show_default=True,
    help="Group by a span of time, or by route, status or model.",
)
@common
@click.pass_context
def usage(context: click.Context, /, **asked: Any) -> None:
    """Show the requests, bytes and units of keys.

    Without keys and conditions, it shows those of all requests.

    Times are UTC. A request counts when it ends, in whole minutes, hours, days or months. The
    usage of a client, project or tenant is that of the keys that it has now. Status is counted
    over all requests only.

    ERRORS such as 4+1 are those of the client and of the server. --json and --csv have every
    number.

    The last line says how much of the usage came: `missing` are responses of the sidecars without
    a log entry. Requests that still run are among them.

    \b
    Examples:
      authz usage --month
      authz usage --key 7Hk2mQ9xT4bVzR1c --since 24h --by hour
      authz usage --client acme-web --by route --json
      authz usage cost --by model
      authz usage top --by units
    """
    if context.invoked_subcommand is not None:
        return
    by = By(asked["by"])
    print_report(context.ensure_object(Invocation), asked, by, has_cost=by is By.MODEL)


usage.add_command(cost)
usage.add_command(top)
usage.add_command(anomalies)
usage.add_command(erase)
usage.add_command(reconcile)
usage.add_command(export)
