"""`authz serve`."""

import click

from authz.cli.administration import load_settings, settings_files
from authz.cli.invocation import Invocation, common
from authz.core.errors import BadInput, BadSettings
from authz.settings.model import Settings
from authz.wiring import serving
from authz.wiring.validation import mistakes


@click.command()
@click.option("--listen", metavar="ADDR", help="Address for Envoy. Default: check.listen.")
@click.option("--ops", metavar="ADDR", help="Address for health and metrics. Default: ops.listen.")
@common
@click.pass_obj
def serve(invocation: Invocation, listen: str | None, ops: str | None) -> None:
    """Run the sidecar that answers Envoy, until SIGTERM or SIGINT.

    An address is host:port or unix:PATH. The sidecar also starts without a store. GET /readyz on
    the operations address tells whether it is ready.

    SIGHUP and a change of a settings file reload plans, pools, limits, routes, check.enforce
    and log.level. If the new settings have a mistake, the old ones stay in force.

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

    def read() -> Settings:
        return load_settings(invocation, **flags)

    try:
        serving.serve(read, lambda: settings_files(invocation))
    except BadInput as cause:
        if isinstance(cause, BadSettings):
            raise
        found = mistakes(read())
        raise (BadSettings(found) if str(cause) in map(str, found) else cause) from None
