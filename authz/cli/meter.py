"""`authz meter`."""

import click

from authz.cli.administration import load_settings
from authz.cli.invocation import Invocation, common


@click.command()
@click.option("--listen", metavar="ADDR", help="Address for Envoy's logs. Default: meter.listen.")
@click.option(
    "--ops", metavar="ADDR", help="Address for health and metrics. Default: meter.ops_listen."
)
@common
@click.pass_obj
def meter(invocation: Invocation, listen: str | None, ops: str | None) -> None:
    """Run the meter that counts usage from Envoy's access logs, until SIGTERM or SIGINT.

    Envoy sends its log entries with its OpenTelemetry access logger over gRPC, and repeats a batch
    until it is confirmed. The meter adds entries up, and confirms a batch once its counts are in
    the store. A repeated batch counts once, also if another meter counted it, so any number of
    meters may run on one store. At SIGTERM it commits all that it has taken.

    An address is host:port or unix:PATH. Beyond loopback it needs meter.tls or
    meter.allow_plaintext, and meter.token_file or meter.tls.client_ca. GET /readyz on the
    operations address tells whether it is ready.

    \b
    Examples:
      authz meter
      authz meter --config /etc/authz/authz.yaml
      authz meter --listen unix:/run/authz/meter.sock --ops 127.0.0.1:9196
    """
    from authz.wiring import meter as wiring  # noqa: PLC0415  its listeners take long to import

    found = {"listen": listen, "ops_listen": ops}
    given = {name: address for name, address in found.items() if address is not None}
    wiring.serve(load_settings(invocation, **({"meter": given} if given else {})))
