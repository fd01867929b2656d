"""Indexing: makes the index of imported digests of a store, from the records of its keys.

The store is not stopped meanwhile. Keys that change while the others are read are read again, from
the log of changes, until a transaction writes the index at the change that it is complete for.
"""

from collections.abc import Sequence
from typing import Any, Final

import redis.asyncio

from authz.core.errors import Unavailable
from authz.core.keys.digest_index import entry_of
from authz.core.selector import Position
from authz.storage import encoding, meta, schema
from authz.storage.change_log import changed_kids
from authz.storage.index_state import STATE_LENGTH, decode_state, encoded_index
from authz.storage.listing import StoredIndex
from authz.storage.replies import checked, last_change

PAGE: Final = 500  # records in one round trip
MAX_ROUNDS: Final = 100


class Indexing:
    """Makes the index of a store that has imported keys, and finds out whether it is needed."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._names = schema.names_of(client)
        self._records = StoredIndex(client)

    async def is_needed(self) -> bool:
        """Return whether keys were imported and the index may lack some. Raises Unavailable."""
        names = self._names
        if not meta.has_imports(await checked(self._client.hgetall(names.meta))):
            return False
        pipeline = self._client.pipeline(transaction=True)
        pipeline.get(names.seq)
        pipeline.getrange(names.imported, 0, STATE_LENGTH - 1)
        seq, text = await checked(pipeline.execute())
        state = decode_state(text)
        return state is None or str(state.seq) != (seq or "0")

    async def run(self) -> int:
        """Write the index, and return the number of its entries.

        Takes three round trips for each PAGE (500) of all keys. Raises Unavailable if the store
        fails, refuses the write, or changes too fast.
        """
        seq = await last_change(self._client)
        entries: list[str] = []
        after: Position | None = None
        while places := await self._records.kids(None, after, PAGE):
            entries += await self._entries([place.kid for place in places])
            after = places[-1]
        for _ in range(MAX_ROUNDS):
            now = await last_change(self._client)
            if now != seq:
                entries += await self._entries(await changed_kids(self._client, seq, now))
                seq = now
            entries = list(dict.fromkeys(entries))
            if await self._write(seq, entries):
                return len(entries)
        raise Unavailable("the store changes too fast to be read; try again")

    async def _entries(self, kids: Sequence[str]) -> list[str]:
        """Return the entries of these keys' aliases."""
        texts = await self._records.texts(kids, ["secrets"])
        digests = [one for (text,) in texts if text for one in encoding.digests_of(text)]
        if not digests:
            return []
        owners = await checked(self._client.mget(list(map(self._names.alias, digests))))
        return [entry_of(one) for one, kid in zip(digests, owners, strict=True) if kid]

    async def _write(self, seq: int, entries: Sequence[str]) -> bool:
        """Write the index if `seq` is still the last change. Return whether it was."""

        async def write(transaction: Any) -> bool:
            if (await transaction.get(self._names.seq) or "0") != str(seq):
                return False
            transaction.multi()
            transaction.set(self._names.imported, encoded_index(seq, entries))
            return True

        transaction = self._client.transaction(write, self._names.seq, value_from_callable=True)
        return bool(await checked(transaction))
