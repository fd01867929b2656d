"""`authz admin`: serve the admin API."""

import click

from authz.cli.admin_credentials import token, whoami
from authz.cli.administration import load_settings
from authz.cli.invocation import Invocation, common
from authz.cli.login_link import login_link


@click.group(invoke_without_command=True)
@click.option("--listen", metavar="ADDR", help="Address for gRPC. Default: admin.listen.")
@click.option(
    "--http",
    metavar="ADDR",
    help="Address for console, REST, health and metrics. Default: admin.http_listen.",
)
@common
@click.pass_context
def admin(context: click.Context, listen: str | None, http: str | None) -> None:
    """Serve the admin API and the console, until SIGTERM or SIGINT.

    An address is host:port or unix:PATH. Beyond loopback it needs admin.tls. Callers need a bearer
    token, a client certificate, or a key with the scope of a role, such as authz:admin. The process
    also starts without a store. GET /readyz on the HTTP address tells whether it is ready.

    \b
    Examples:
      authz admin
      authz admin --config /etc/authz/authz.yaml
      authz admin --listen unix:/run/authz/admin.sock --http 127.0.0.1:9194
    """
    if context.invoked_subcommand is not None:
        return
    from authz.wiring.serving_admin import serve_admin  # noqa: PLC0415  subcommands need no server

    given = {"listen": listen, "http_listen": http}
    flags = {"admin": {name: address for name, address in given.items() if address is not None}}
    invocation = context.ensure_object(Invocation)
    serve_admin(lambda: load_settings(invocation, **flags))


for _command in (token, whoami, login_link):
    admin.add_command(_command)
