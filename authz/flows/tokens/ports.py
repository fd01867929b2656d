"""Ports of tokens: the interfaces that identity and storage implement."""

from collections.abc import Callable, Mapping
from typing import Protocol

from authz.core.tokens.signing_keys import SigningKey


class Entries(Protocol):
    """The entries of signing keys, as they were read last."""

    @property
    def signing(self) -> Mapping[str, str]:
        """The entries by key id. After a change it is another object."""
        ...


class EntrySource(Entries, Protocol):
    """The entries of signing keys, and whether they still hold."""

    @property
    def is_current(self) -> bool:
        """Whether the entries still hold: the link to the store is trusted."""
        ...


class SigningKeyStore(Protocol):
    """Signing keys in the store."""

    async def entries(self) -> Mapping[str, str]:
        """Return the entries by key id. Raises Unavailable."""
        ...

    async def private_half(self, key_id: str) -> str | None:
        """Return the sealed private half of a key, or None. Raises Unavailable."""
        ...


class SigningKeyChanges(Protocol):
    """Changes of the signing keys in the store."""

    async def add(self, key_id: str, entry: str, private_half: str) -> None:
        """Add a key. MUST write both halves in one step. Raises Unavailable."""
        ...

    async def remove(self, key_id: str) -> bool:
        """Remove a key, its entry first. Return False if there was none. Raises Unavailable."""
        ...


class Signer(Protocol):
    """The private half of a signing key."""

    def sign(self, text: bytes) -> bytes:
        """Return the signature ES256, 64 bytes."""
        ...


OpenKey = Callable[[str | None, SigningKey], Signer]
"""Opens a sealed private half. Raises Unreadable if it is missing or cannot be opened."""

Verify = Callable[[bytes, bytes], bool]
"""Returns whether the second argument is the signature of the first."""

MakeVerify = Callable[[bytes, bytes], Verify]
"""Returns the verification by the public key at the point (x, y). Raises Unreadable."""
