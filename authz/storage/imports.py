"""Imported keys. `LinkedAliases` finds them for the sidecar, `StoredImports` puts them there."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import redis.asyncio
from redis import exceptions

from authz.core.changes import KeyChange
from authz.core.errors import Fault, OutcomeUnknown, Unavailable
from authz.core.keys.credentials import Alias
from authz.core.keys.text import KID_PATTERN
from authz.core.ports import LoadedAlias
from authz.storage import meta, schema
from authz.storage.feed import ChangeFeed
from authz.storage.keys import APPLY_CHANGE, script_input, script_outcome
from authz.storage.link import Link, refusal
from authz.storage.replies import answered

Deliver = Callable[[LoadedAlias], None]


class LinkedAliases:
    """An AliasSource on the link of the change feed."""

    def __init__(self, feed: ChangeFeed) -> None:
        self._feed = feed
        self.has_imports = feed.has_imports

    def resolve(self, digests: Sequence[bytes], deliver: Deliver) -> None:
        """See AliasSource. One MGET, and one more round trip before saying None."""
        self._ask(digests, deliver, last=False)

    def _ask(self, digests: Sequence[bytes], deliver: Deliver, *, last: bool) -> None:
        link = self._feed.link
        if link is None:
            asyncio.get_running_loop().call_soon(deliver, Unavailable("not connected"))
            return
        names = map(schema.alias, digests)
        link.send(partial(self._on_kids, link, digests, deliver, last), "MGET", *names)

    def _on_kids(
        self, link: Link, digests: Sequence[bytes], deliver: Deliver, last: bool, reply: Any
    ) -> None:
        if not isinstance(reply, list):
            deliver(_not_understood(reply))
            return
        for digest, kid in zip(digests, reply, strict=True):
            if kid is not None:
                deliver(_alias(digest, kid))
                return
        # As for a record: is it absent, or is the store empty? authz:meta counts once more often
        # than all aliases together, so the count tells.
        proof = [schema.META] * (len(digests) + 1)
        names = map(schema.alias, digests)
        link.send(partial(self._on_presence, digests, deliver, last), "EXISTS", *proof, *names)

    def _on_presence(
        self, digests: Sequence[bytes], deliver: Deliver, last: bool, reply: Any
    ) -> None:
        if not isinstance(reply, int):
            deliver(_not_understood(reply))
        elif reply <= len(digests):
            deliver(Unavailable(meta.NOT_INITIALISED))
        elif reply == len(digests) + 1:
            deliver(None)
        elif last:
            deliver(Unavailable("an alias is there and cannot be read"))
        else:  # it was imported between the two looks
            self._ask(digests, deliver, last=True)


class StoredImports:
    """An ImportStore over redis-py: a batch is one round trip."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._script = ""

    async def allow_imports(self) -> None:
        """See ImportStore."""
        await answered(self._client.hset(schema.META, schema.META_IMPORTS, "1"))

    async def resolve_all(self, digests: Sequence[Sequence[bytes]]) -> list[str | None]:
        """See ImportStore."""
        pipe = self._client.pipeline(transaction=False)
        for known in digests:
            pipe.mget(list(map(schema.alias, known)))
        found = await answered(pipe.execute())
        return [next(filter(None, kids), None) for kids in found]

    async def apply_all(self, changes: Sequence[KeyChange]) -> list[int | Fault]:
        """See ImportStore."""
        await self._load_script()  # what fails from here on may have been done
        outcomes = await self._send(changes)
        forgotten = [index for index, found in enumerate(outcomes) if found is None]
        if forgotten:  # the store lost its scripts, and says so before it runs one
            await self._load_script()
            again = await self._send([changes[index] for index in forgotten])
            for index, outcome in zip(forgotten, again, strict=True):
                outcomes[index] = outcome
        return [Unavailable("the store forgot the script") if o is None else o for o in outcomes]

    async def _load_script(self) -> None:
        self._script = await answered(self._client.script_load(APPLY_CHANGE))

    async def _send(self, changes: Sequence[KeyChange]) -> list[int | Fault | None]:
        """One outcome each; None where the store does not have the script."""
        pipe = self._client.pipeline(transaction=False)
        for change in changes:
            keys, args = script_input(change)
            pipe.evalsha(self._script, len(keys), *keys, *args)
        try:
            replies = await pipe.execute(raise_on_error=False)
        except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as cause:
            raise OutcomeUnknown(f"the store did not confirm the changes: {cause}") from None
        return [_outcome(*pair) for pair in zip(changes, replies, strict=True)]


def _outcome(change: KeyChange, reply: Any) -> int | Fault | None:
    if isinstance(reply, exceptions.NoScriptError):
        return None
    if isinstance(reply, Exception):
        return Unavailable(f"the store refused the change: {refusal(reply)}")
    return script_outcome(change, reply)


def _alias(digest: bytes, kid: Any) -> Alias | Fault:
    if isinstance(kid, str) and KID_PATTERN.fullmatch(kid):
        return Alias(kid, digest)
    return Unavailable("an alias does not hold a kid")


def _not_understood(reply: Any) -> Fault:
    if isinstance(reply, Fault):
        return reply
    return Unavailable(f"the store answered {str(reply)[:100]}")
