"""Lookups: ways from a credential to the proof of its secret and the record of its key."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from authz.core.decision import Decision
from authz.core.errors import Unavailable
from authz.core.keys.credentials import Presented
from authz.core.policy import Proof
from authz.core.records import KeyRecord
from authz.core.request import Request
from authz.core.tokens.presented import AcceptedToken
from authz.flows.keycache import KeyCache

_Key_contra = TypeVar("_Key_contra", contravariant=True)


DecideElsewhere = Callable[[object, Request, Unavailable], Decision | Awaitable[Decision] | None]
"""Decides a request by a moved key, which lies in another partition; None if it is not moved.

It gets the credential, and the fault of its lookup in this partition.
"""


def nowhere(_credential: object, _request: Request, _cause: Unavailable) -> None:
    """Stand in for a DecideElsewhere: with one partition no key lies elsewhere."""


class Lookup(Protocol[_Key_contra]):
    """A way from a credential to the proof of its secret and the record of its key."""

    def peek_stale(self, credential: _Key_contra) -> tuple[Proof, KeyRecord] | None:
        """Return the proof and the cached record to use during an outage.

        None if the record is not cached, or its grace has ended. A revoked record is returned
        even after its grace, so that the key is still denied.
        """
        ...

    async def find(self, credential: _Key_contra, address: str) -> tuple[Proof, KeyRecord] | None:
        """Return proof and record, or None if there is no such key.

        address: the client's. Raises Unavailable if the result is not known.
        """
        ...


class NativeKeys:
    """A Lookup of keys in our own format. The text of a key names its kid, and is the proof."""

    def __init__(self, cache: KeyCache) -> None:
        self._cache = cache

    def peek_stale(self, credential: Presented) -> tuple[Proof, KeyRecord] | None:
        """Return the credential and the record of `KeyCache.peek_stale`, or None without one."""
        record = self._cache.peek_stale(credential.kid)
        return None if record is None else (credential, record)

    async def find(self, credential: Presented, address: str) -> tuple[Proof, KeyRecord] | None:
        """Return credential and record, or None if there is no such key. `address` is not used.

        Raises Unavailable as `KeyCache.find` does.
        """
        record = await self._cache.find(credential.kid)
        return None if record is None else (credential, record)


class TokenKeys:
    """A Lookup of the parent keys of accepted tokens."""

    def __init__(self, cache: KeyCache) -> None:
        self._cache = cache

    def peek_stale(self, credential: AcceptedToken) -> tuple[Proof, KeyRecord] | None:
        """Return the exchanged secret and the record of `KeyCache.peek_stale`, or None."""
        record = self._cache.peek_stale(credential.kid)
        return None if record is None else (credential.proof(record), record)

    async def find(self, credential: AcceptedToken, address: str) -> tuple[Proof, KeyRecord] | None:
        """Return the exchanged secret and the record, or None if there is no such key.

        `address` is not used. Raises Unavailable as `KeyCache.find` does.
        """
        record = await self._cache.find(credential.kid)
        return None if record is None else (credential.proof(record), record)
