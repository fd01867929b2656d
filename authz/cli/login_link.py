"""`authz admin login-link`: a link that opens the console once."""

import asyncio

import click

from authz.cli.administration import load_settings
from authz.cli.invocation import Invocation, common
from authz.cli.options import kid_argument
from authz.cli.over_api import refuse_over_api
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
    refuse_over_api(invocation)
    settings = load_settings(invocation)

    async def make() -> str:
        async with administration(settings) as lifecycle:
            return link_to_console(settings, await lifecycle.show(kid))

    link = asyncio.run(make())
    invocation.answer({"login": link, "expires_in": f"{LINK_MS // 1000}s"}, link)
