"""Ports of the commands about tokens, over the store or over the admin API."""

from __future__ import annotations  # the types are for readers and checkers alone

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from authz.core.changes import Author
    from authz.flows.tokens.exchange import Ask, Refused
    from authz.flows.tokens.inspection import Inspected
    from authz.flows.tokens.issuing import Issued
    from authz.flows.tokens.key_rotation import KeyState


class SigningKeys(Protocol):
    """Lists and changes the keys that sign tokens. Methods raise Unavailable."""

    async def list(self) -> Sequence[KeyState]:
        """Return all keys, in the order in which they sign."""
        ...

    async def rotate(self, author: Author, *, at_once: bool = False) -> KeyState:
        """Make a key and return it. at_once: it signs after 2 s."""
        ...

    async def remove(self, key_id: str, author: Author) -> None:
        """Remove a key. Raises NotFound if no key has the id."""
        ...


class KeyExchange(Protocol):
    """Exchanges keys for tokens."""

    async def exchange(self, ask: Ask) -> Issued | Refused:
        """Return the new token, or the refusal."""
        ...


class TokenInspector(Protocol):
    """Inspects tokens."""

    async def inspect(self, token: str) -> Inspected:
        """Return whether a token is accepted, and its key. Raises Unavailable."""
        ...
