"""`authz serve`."""

import click

from authz.cli.administration import load_settings
from authz.cli.invocation import Invocation, common
from authz.wiring import sidecar


@click.command()
@click.option("--listen", metavar="ADDR", help="Where the proxy asks; else check.listen.")
@click.option("--ops", metavar="ADDR", help="Health and readiness over HTTP; else ops.listen.")
@common
@click.pass_obj
def serve(invocation: Invocation, listen: str | None, ops: str | None) -> None:
    """Run the sidecar that Envoy asks, until SIGTERM or SIGINT.

    An address is host:port or unix:PATH. It starts whether the store is there or not, and says on
    the operations address whether it is ready.

    \b
    Examples:
      authz serve
      authz serve --config /etc/authz/authz.yaml
      authz serve --listen unix:/run/authz/check.sock --ops 127.0.0.1:9192
    """
    flags = {
        section: {"listen": address}
        for section, address in (("check", listen), ("ops", ops))
        if address is not None
    }
    sidecar.serve(load_settings(invocation, **flags))
