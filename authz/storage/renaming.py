"""Renaming: changes the form of members of the indexes of keys; see index_members.py."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

import redis.asyncio

from authz.storage import schema
from authz.storage.index_members import short_member
from authz.storage.replies import checked
from authz.storage.scripts import script

RENAME: Final = script("rename_members")
RENAME_SHA: Final = hashlib.sha1(RENAME.encode(), usedforsecurity=False).hexdigest()


class Renaming:
    """Gives keys their short member, or with `to_kids` their kid.

    clients: the client of each key, by kid; "" if it has none. Raises Unavailable if the store
    fails; some members may have changed.
    """

    def __init__(self, client: redis.asyncio.Redis, *, to_kids: bool = False) -> None:
        self._client = client
        self._names = schema.names_of(client)
        self._to_kids = to_kids

    async def count(self, clients: Mapping[str, str]) -> int:
        """Return how many of these keys have the other form in the index of all keys."""
        if not clients:
            return 0
        members = [self._pair(kid)[0] for kid in clients]
        scores = await checked(self._client.zmscore(self._names.keys, members))
        return sum(score is not None for score in scores)

    async def rename(self, clients: Mapping[str, str]) -> int:
        """Change the members of these keys, and return how many changed in the index of all keys.

        Each index changes in one step.
        """
        if not clients:
            return 0
        pairs: defaultdict[str, list[str]] = defaultdict(list)
        for kid, client_id in clients.items():
            pairs[self._names.keys] += self._pair(kid)
            if client_id:
                pairs[self._names.client(client_id)] += self._pair(kid)
        await checked(self._client.script_load(RENAME))
        pipeline: Any = self._client.pipeline(transaction=False)
        for name, found in pairs.items():
            pipeline.evalsha(RENAME_SHA, 1, name, *found)
        return int((await checked(pipeline.execute()))[0])

    def _pair(self, kid: str) -> tuple[str, str]:
        """Return the former member and the new one."""
        both = (kid, short_member(kid))
        return both[::-1] if self._to_kids else both
