"""Page tokens: opaque to clients, and bound to the list that they continue (AIP-158).

They are sealed, because a position may be that of a key that the caller may not see.
"""

from collections.abc import Sequence
from typing import Final

from authz.core.errors import BadInput
from authz.core.sealed_text import SealedTexts

MAX_TOKEN: Final = 4096  # characters; with 48 partitions a position has up to 2,000


class PageTokens:
    """Seals positions. keys: of 32 bytes; the last one seals, each may open."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._seals = SealedTexts(keys)

    def seal(self, position: str, *about: str) -> str:
        """Return the token of a position. about: the caller, the method and the filter."""
        return self._seals.seal(position, *about)

    def open(self, token: str, *about: str) -> str:
        """Return the position of a token; empty for an empty one.

        Raises BadInput for a token that was not sealed under one of the keys for the same `about`.
        """
        position = self._seals.open(token, *about, most=MAX_TOKEN) if token else ""
        if position is None:
            raise BadInput("page_token", "not the token of a page of this list; begin without one")
        return position
