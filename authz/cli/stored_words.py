"""Kids and clients from the store, for completion in a shell. Slow to import: only if asked for.

A shell inserts a completed word into a command line, and anybody who may issue keys chooses ids. So
a word that a shell could read as anything but plain text is left out.
"""

import asyncio
import re
from collections.abc import Sequence
from contextlib import aclosing
from typing import Final

from authz.cli.administration import load_settings
from authz.cli.invocation import Invocation
from authz.settings.model import Settings
from authz.storage.listing import StoredIndex
from authz.wiring.administration import endpoint

PATIENCE: Final = 0.5  # seconds, for the store
MOST: Final = 50  # words
NEWEST: Final = {"kid": 10_000, "client": 2_000}  # keys that are looked at

# An identifier without `|`. A word that begins with `-` would be an option.
_PLAIN: Final = re.compile(r"[0-9A-Za-z._@/][0-9A-Za-z._:@/+-]{0,127}", re.ASCII)


def stored_words(kind: str, invocation: Invocation, beginning: str) -> list[str]:
    """Return the words of the newest keys that start with `beginning`, sorted, at most MOST (50).

    kind: `kid` or `client`. If a shell could misread `beginning`, return none. Raises TimeoutError
    after PATIENCE (0.5 s), BadInput for invalid settings, Unavailable if the store fails.
    """
    if beginning and not _PLAIN.fullmatch(beginning):
        return []
    found = asyncio.run(_ask(kind, load_settings(invocation)))
    plain = {word for word in found if word.startswith(beginning) and _PLAIN.fullmatch(word)}
    return sorted(plain)[:MOST]


async def _ask(kind: str, settings: Settings) -> Sequence[str]:
    async with asyncio.timeout(PATIENCE), aclosing(endpoint(settings).client(PATIENCE)) as client:
        index = StoredIndex(client)
        kids = await index.newest(NEWEST[kind])
        if kind == "kid":
            return kids
        return [text for (text,) in await index.texts(kids, ["client_id"]) if text]
