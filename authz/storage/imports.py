"""Imported keys: `LinkedAliases` finds them for the sidecar, `StoredImports` writes them."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import redis.asyncio

from authz.core.changes import KeyChange
from authz.core.errors import Deleted, Fault, Unavailable
from authz.core.keys.credentials import Alias
from authz.core.keys.text import KID_PATTERN
from authz.core.ports import LoadedAlias
from authz.storage import meta, schema, tombstones
from authz.storage.batches import StoredBatches
from authz.storage.feed import ChangeFeed
from authz.storage.index_state import encoded_index
from authz.storage.link import Link
from authz.storage.replies import checked

Deliver = Callable[[LoadedAlias], None]


class LinkedAliases:
    """An AliasSource that reads the aliases of imported keys over the link of the change feed."""

    def __init__(self, feed: ChangeFeed) -> None:
        self._feed = feed
        self._names = feed.names

    def has_imports(self) -> bool | None:
        """Return whether keys were ever imported; None while that is unknown.

        True once an import was seen, also without trust. False only while the store is trusted.
        """
        return self._feed.meta.has_imports()

    def resolve(self, digests: Sequence[bytes], deliver: Deliver) -> None:
        """Request the alias of the first of `digests` that has one, and return at once.

        `deliver` is called once, later. It gets the Alias of the first digest that has one, or None
        if there is none and authz:meta exists. Otherwise it gets a Fault: Emptied without
        authz:meta, Unavailable without a link or for an unexpected reply. None costs a second round
        trip.
        """
        self._request(digests, deliver, last=False)

    def _request(self, digests: Sequence[bytes], deliver: Deliver, *, last: bool) -> None:
        link = self._feed.link
        if link is None:
            asyncio.get_running_loop().call_soon(deliver, Unavailable("not connected"))
            return
        names = map(self._names.alias, digests)
        link.send(partial(self._on_kids, link, digests, deliver, last), "MGET", *names)

    def _on_kids(
        self, link: Link, digests: Sequence[bytes], deliver: Deliver, last: bool, reply: Any
    ) -> None:
        if not isinstance(reply, list):
            deliver(_unexpected(reply))
            return
        for digest, kid in zip(digests, reply, strict=True):
            if kid is not None:
                deliver(_alias(digest, kid))
                return
        # As for a record: the key is absent, or the store is empty. EXISTS counts a repeated name
        # each time. authz:meta is named once more often than there are aliases, so the count shows
        # whether authz:meta exists and whether an alias does.
        proof = [self._names.meta] * (len(digests) + 1)
        names = map(self._names.alias, digests)
        link.send(partial(self._on_presence, digests, deliver, last), "EXISTS", *proof, *names)

    def _on_presence(
        self, digests: Sequence[bytes], deliver: Deliver, last: bool, reply: Any
    ) -> None:
        if not isinstance(reply, int):
            deliver(_unexpected(reply))
        elif reply <= len(digests):
            deliver(meta.Emptied(self._feed.highest))
        elif reply == len(digests) + 1:
            deliver(None)
        elif last:
            deliver(Unavailable("an alias exists but cannot be read"))
        else:  # the key was imported between MGET and EXISTS
            self._request(digests, deliver, last=True)


class StoredImports:
    """An ImportStore over redis-py. A batch takes one round trip, besides loading the script."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._names = schema.names_of(client)
        self._batches = StoredBatches(client)

    async def allow_imports(self) -> None:
        """Set the imports field of `authz:meta`, so that sidecars look up aliases.

        Before the first import it begins the index of imported digests, if the user may write it.
        Raises Unavailable.
        """
        with suppress(Unavailable):  # its right may be missing; a failed store also fails below
            await self._begin_index()
        await checked(self._client.hset(self._names.meta, schema.META_IMPORTS, "1"))

    async def _begin_index(self) -> None:
        names = self._names

        async def begin(transaction: Any) -> None:
            seq = await transaction.get(names.seq) or "0"
            had_imports = await transaction.hget(names.meta, schema.META_IMPORTS)
            transaction.multi()
            if not had_imports:
                transaction.set(names.imported, encoded_index(int(seq), ()))

        await checked(self._client.transaction(begin, names.meta, names.seq))

    async def resolve_all(self, digests: Sequence[Sequence[bytes]]) -> list[str | Deleted | None]:
        """Return for each key the kid of the first of its digests that is an alias.

        Without one it is Deleted, a value, if a key with one of the digests was deleted, else None.
        Takes one round trip. Raises Unavailable if the store cannot be used.
        """
        pipe = self._client.pipeline(transaction=False)
        for known in digests:
            pipe.mget(list(map(self._names.alias, known)))
            for place in map(tombstones.of_digest, known):
                pipe.sismember(self._names.gone(place.bucket), str(place.member))
        replies = iter(await checked(pipe.execute()))
        found: list[str | Deleted | None] = []
        for known in digests:
            kids, *gone = itertools.islice(replies, 1 + len(known))
            found.append(next(filter(None, kids), None) or (Deleted() if any(gone) else None))
        return found

    async def apply_all(self, changes: Sequence[KeyChange]) -> list[int | Fault]:
        """Return each change's version, or the Fault why it was not applied, in order.

        See `StoredBatches.apply_all`. Raises Unavailable if no change was made, OutcomeUnknown if
        the store failed after some may have been.
        """
        return await self._batches.apply_all(changes)


def _alias(digest: bytes, kid: Any) -> Alias | Fault:
    if isinstance(kid, str) and KID_PATTERN.fullmatch(kid):
        return Alias(kid, digest)
    return Unavailable("an alias does not hold a kid")


def _unexpected(reply: Any) -> Fault:
    if isinstance(reply, Fault):
        return reply
    return Unavailable(f"the store answered {str(reply)[:100]}")
