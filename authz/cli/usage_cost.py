"""`authz usage cost`: tokens and money."""

from typing import Any

import click

from authz.cli.invocation import Invocation, common
from authz.cli.usage_report import print_report, report_options
from authz.core.usage.question import By


@click.command()
@report_options
@click.option(
    "--by",
    type=click.Choice([by.value for by in By]),
    default=By.MODEL.value,
    show_default=True,
    help="Group by model, by a span of time, or by route or status.",
)
@common
@click.pass_obj
def cost(invocation: Invocation, /, **asked: Any) -> None:
    """Show the tokens and the cost of requests, by model.

    USD are dollars at the prices of the time of each request. A request whose answer reported no
    tokens costs nothing here; --json counts these as `estimated`. Times are UTC.

    \b
    Examples:
      authz usage cost --by model --month
      authz usage cost --key 7Hk2mQ9xT4bVzR1c --by day
      authz usage cost --tenant acme --by route --csv
    """
    print_report(invocation, asked, By(asked["by"]), has_cost=True)
