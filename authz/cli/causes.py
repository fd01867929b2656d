"""All causes of a failure, for the message of a command. Slow to import: only after a failure."""

import asyncio

from authz.cli.administration import load_settings
from authz.cli.invocation import Invocation
from authz.core.errors import BadInput, Fault
from authz.wiring import causes


def all_causes(invocation: Invocation, cause: Fault) -> list[str]:
    """Return a line for each cause why the store cannot be used, `cause` among them.

    It reads the settings and the pepper files again, and may connect to the store. If the settings
    cannot be read now, the only line is `cause`.
    """
    try:
        settings = load_settings(invocation)
    except BadInput:  # they have changed since
        return [str(cause)]
    return asyncio.run(causes.causes(settings, cause))
