"""`authz serve`."""

import sys

import click

from authz.cli.administration import load_settings, settings_files
from authz.cli.invocation import Invocation, common
from authz.cli.options import process_count
from authz.core.errors import BadInput, BadSettings
from authz.core.listen_address import Address
from authz.process.own_python import command_of
from authz.settings.model import Settings
from authz.wiring import serving
from authz.wiring.several import of_process
from authz.wiring.validation import mistakes


@click.command()
@click.option("--listen", metavar="ADDR", help="Address for Envoy. Default: check.listen.")
@click.option("--ops", metavar="ADDR", help="Address for health and metrics. Default: ops.listen.")
@click.option(
    "--processes",
    metavar="N",
    default="1",
    callback=process_count,
    help="Sidecars to run, one for each processor core. Default: 1.",
)
@click.option("--as-process", type=int, hidden=True)
@common
@click.pass_obj
def serve(
    invocation: Invocation,
    listen: str | None,
    ops: str | None,
    processes: int,
    as_process: int | None,
) -> None:
    """Run the sidecar that answers Envoy, until SIGTERM or SIGINT.

    An address is host:port or unix:PATH. The sidecar also starts without a store. GET /readyz on
    the operations address tells whether it is ready.

    SIGHUP and a change of a settings file reload plans, pools, limits, routes, check.enforce
    and log.level. If the new settings have a mistake, the old ones stay in force.

    With --processes 4, four sidecars listen on check-0.sock to check-3.sock, or on four ports from
    that of check.listen on. One operations address answers for all of them. A sidecar that ends
    or hangs starts again. SIGHUP replaces them one after the other.
    `authz envoy snippet --processes 4` prints their cluster.

    \b
    Examples:
      authz serve
      authz serve --config /etc/authz/authz.yaml
      authz serve --listen unix:/run/authz/check.sock --ops 127.0.0.1:9192
      authz serve --listen unix:/run/authz/check.sock --processes 4
    """
    flags = {
        section: {"listen": address}
        for section, address in (("check", listen), ("ops", ops))
        if address is not None
    }

    def read() -> Settings:
        settings = load_settings(invocation, **flags)
        return settings if as_process is None else of_process(settings, as_process)

    try:
        if processes > 1 and as_process is None:
            from authz.wiring import serving_several  # noqa: PLC0415  what most do not use

            serving_several.serve(read, processes, _command)
        else:
            files = lambda: settings_files(invocation)  # noqa: E731
            serving.serve(read, files, process=as_process)
    except BadInput as cause:
        if isinstance(cause, BadSettings):
            raise
        found = mistakes(read())
        raise (BadSettings(found) if str(cause) in map(str, found) else cause) from None


def _command(number: int, operations: Address) -> list[str]:
    """Return this command as that of one of its processes: the last value of an option counts."""
    own = ["--as-process", str(number), "--ops", str(operations)]
    return [*command_of("authz.cli.main"), *sys.argv[1:], *own]
