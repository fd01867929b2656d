"""`authz admin login-link`: a link that opens the console once."""

import click

from authz.cli.administration import stored_settings
from authz.cli.invocation import Invocation, common
from authz.cli.options import kid_argument
from authz.cli.session_loop import within
from authz.core.login_link import LINK_MS
from authz.wiring.administration import administration
from authz.wiring.login_links import link_to_console


@click.command("login-link")
@kid_argument
@common
@click.pass_obj
def login_link(invocation: Invocation, kid: str) -> None:
    """Print a link that opens the console once, as the key KID.

    It works for 10 minutes. The key has to have the scope of a role, and the session has the
    rights of the key. It needs the pepper and the store, so it also works while the identity
    provider is down. Give the link to nobody else: whoever opens it first is logged in.

    \b
    Examples:
      authz admin login-link 7Hk2mQ9xT4bVzR1c
    """
    settings = stored_settings(invocation)
    record = within(administration(settings), lambda lifecycle: lifecycle.show(kid))
    link = link_to_console(settings, record)
    invocation.answer({"login": link, "expires_in": f"{LINK_MS // 1000}s"}, link)
