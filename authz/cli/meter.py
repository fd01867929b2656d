"""`authz meter`."""

from pathlib import Path

import click

from authz.cli.administration import load_settings
from authz.cli.invocation import Invocation, common
from authz.cli.options import path_such_as
from authz.core.errors import BadInput


@click.command()
@click.option("--listen", metavar="ADDR", help="Address for Envoy's logs. Default: meter.listen.")
@click.option(
    "--ops", metavar="ADDR", help="Address for health and metrics. Default: meter.ops_listen."
)
@click.option(
    "--tail",
    metavar="FILE",
    callback=path_such_as("/var/log/envoy/usage.log"),
    help="Also follow this log of Envoy's file access logger.",
)
@click.option(
    "--cursor",
    metavar="FILE",
    callback=path_such_as("/var/lib/authz/usage.cursor"),
    help="File that remembers the position in the log. Default: the log with `.cursor` appended.",
)
@common
@click.pass_obj
def meter(
    invocation: Invocation,
    listen: str | None,
    ops: str | None,
    tail: str | None,
    cursor: str | None,
) -> None:
    """Count usage from access logs, until SIGTERM or SIGINT.

    Envoy sends its log entries with its OpenTelemetry access logger over gRPC, and repeats a batch
    until it is confirmed. The meter adds entries up, and confirms a batch once its counts are in
    the store. A repeated batch counts once, also if another meter counted it, so any number of
    meters may run on one store. At SIGTERM it commits all that it has taken.

    With --tail it follows a log that Envoy's file access logger writes with the same line, over
    renamed files, and remembers its position. One meter follows a log.

    An address is host:port or unix:PATH. Beyond loopback it needs meter.tls or
    meter.allow_plaintext, and meter.token_file or meter.tls.client_ca. GET /readyz on the
    operations address tells whether it is ready.

    \b
    Examples:
      authz meter
      authz meter --config /etc/authz/authz.yaml
      authz meter --listen unix:/run/authz/meter.sock --ops 127.0.0.1:9196
      authz meter --tail /var/log/envoy/usage.log --cursor /var/lib/authz/usage.cursor
    """
    from authz.wiring import serving_meter as wiring  # noqa: PLC0415  its listeners take long to import

    found = {"listen": listen, "ops_listen": ops}
    given = {name: address for name, address in found.items() if address is not None}
    if cursor and not tail:
        raise BadInput("--cursor", "only with --tail FILE")
    followed = (Path(tail), Path(cursor or f"{tail}.cursor")) if tail else None
    wiring.serve(load_settings(invocation, **({"meter": given} if given else {})), followed)
