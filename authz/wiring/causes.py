"""All causes of a failure to use the store, where the first hides the others."""

from contextlib import aclosing

from authz.core.errors import BadInput, Fault, Unavailable
from authz.settings.model import Settings
from authz.storage.replies import checked
from authz.wiring.administration import partitions
from authz.wiring.pepper_files import pepper_mistakes
from authz.wiring.validation import store_mistakes

PEPPERS = "keys.peppers"
PATIENCE = 2.0  # seconds, for each step of a connect


async def causes(settings: Settings, cause: Fault) -> list[str]:
    """Return each cause in a line of its own, `cause` among them. Raises nothing.

    Bad peppers hide everything about the store, and an unusable file hides a refused login. A
    refused login is told with the setting that is missing.
    """
    found = [str(one) for one in store_mistakes(settings)]
    if isinstance(cause, BadInput):
        found = [*map(str, pepper_mistakes(settings)), *(found or await _connect(settings))]
    lines = [named(settings, text) for text in found or [str(cause)]]
    return lines if len(lines) > 1 else [named(settings, str(cause))]


async def _connect(settings: Settings) -> list[str]:
    try:
        async with aclosing(partitions(settings)[0].client(PATIENCE)) as client:
            await checked(client.ping(), "check redis.url and that the store runs")
    except (BadInput, Unavailable) as cause:
        return [str(cause)]
    return []


def named(settings: Settings, text: str) -> str:
    """Return `text`, in which a refused login names the setting that is missing or empty."""
    try:
        return partitions(settings)[0].explained(text)
    except BadInput:
        return text
