"""`authz usage erase`: erase the facts about the callers of a key."""

import click

from authz.cli.actor import actor
from authz.cli.administration import with_usage
from authz.cli.invocation import Invocation, common
from authz.cli.options import note_option
from authz.core import fields
from authz.flows.by import By
from authz.wiring.session import UsageSession


@click.command()
@click.option("--key", "kid", metavar="KID", required=True, help="The key, also a deleted one.")
@note_option
@common
@click.pass_obj
def erase(invocation: Invocation, kid: str, note: str) -> None:
    """Erase the networks and user agents from which a key was used.

    Counts and the times of the latest uses stay. If the key is used again, its next use is kept
    again: revoke it first. The audit trail gets an entry.

    \b
    Examples:
      authz usage erase --key 7Hk2mQ9xT4bVzR1c
    """
    fields.kid("--key", kid)

    async def work(session: UsageSession) -> int:
        return await session.eraser.erase(kid, By(actor(), note))

    erased = with_usage(invocation, work)
    told = f"erased {erased} facts about callers" if erased else "there was nothing to erase"
    invocation.answer({"kid": kid, "erased": erased}, f"{kid}: {told}; counts stay")
