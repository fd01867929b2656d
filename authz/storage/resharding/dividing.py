"""Dividing: names whose entries are about several keys, and what is made anew in each partition."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import redis.asyncio

from authz.core.errors import Unavailable
from authz.core.keys.digest_index import entry_of
from authz.storage.index_members import short_member
from authz.storage.index_state import encoded_index
from authz.storage.replies import checked
from authz.storage.resharding.copying import Copying
from authz.storage.resharding.destinations import Destinations
from authz.storage.resharding.target import Target

PAGE: Final = 500  # entries in one command


class Dividing:
    """Writes into the targets what follows from a frozen store, after the last round of copies."""

    def __init__(
        self, old: redis.asyncio.Redis, targets: Sequence[Target], copying: Copying
    ) -> None:
        self._old: Any = old
        self._targets = targets
        self._copying = copying
        self._places: Destinations = copying.places

    async def run(self, seq: int, *, has_imports: bool) -> int:
        """Write all of it. Return how many keys have a kid that leads to another partition.

        seq: the number of changes with which each partition begins. Raises Unavailable if the store
        fails or a value has a type that cannot be divided, Conflict if a target is not this run's.
        """
        for name, where in self._copying.divided.items():
            await self._divide(name, where)
        moved = await self._write_moved()
        indexes = self._indexes(seq) if has_imports else None
        for at, target in enumerate(self._targets):
            await target.add(("SET", target.names.seq, seq))
            if indexes is not None:
                await target.add(("SET", target.names.imported, indexes[at]))
            await target.flush()
        for name in self._copying.copied("events:sink:"):
            for target in self._targets[1:]:  # a trail that begins now has nothing to deliver
                fields = ("cursor", f"{seq}-0", "failing", "", "since", "0", "tries", "0")
                await target.add(("HSET", target.names.beginning + name, *fields))
        for target in self._targets:
            await target.flush()
        return moved

    async def _divide(self, name: str, where: str) -> None:
        kind = await checked(self._old.type(where))
        ends = int(await checked(self._old.pexpiretime(where)))
        if kind == "zset":
            found = await checked(self._old.zrange(where, 0, -1, withscores=True))
            entries = [(member, (_score(score), member)) for member, score in found]
        elif kind == "hash":
            fields: Mapping[str, str] = await checked(self._old.hgetall(where))
            entries = [(field.partition(":")[0], (field, text)) for field, text in fields.items()]
        elif kind == "none":
            return
        else:
            raise Unavailable(f"{where} is a {kind}; `authz doctor` names what is damaged")
        if name == "applied":  # those of deleted keys are left over
            entries = [one for one in entries if one[0] in self._places.records]
        shares: dict[int, list[Any]] = defaultdict(list)
        for kid, pair in entries:
            shares[self._places.home(kid)] += pair
        for at, words in shares.items():
            target = self._targets[at]
            there = target.names.beginning + name
            for start in range(0, len(words), 2 * PAGE):
                word = "ZADD" if kind == "zset" else "HSET"
                await target.add((word, there, *words[start : start + 2 * PAGE]))
            if ends > 0:
                await target.add(("PEXPIREAT", there, ends))

    async def _write_moved(self) -> int:
        of, count = self._places.partitions.of, 0
        shares: dict[int, list[Any]] = defaultdict(list)
        for kid, record in self._places.records.items():
            if (at := of(kid)) != record.home:
                shares[at] += (short_member(kid), record.home)
                count += 1
        for at, words in shares.items():
            target = self._targets[at]
            for start in range(0, len(words), 2 * PAGE):
                await target.add(("HSET", target.names.moved, *words[start : start + 2 * PAGE]))
        return count

    def _indexes(self, seq: int) -> list[str]:
        """Return for each partition the index of the imported keys that it has."""
        home = self._places.home
        own: list[dict[str, None]] = [{} for _ in self._targets]
        for digest, kid in self._places.aliases.items():
            own[home(kid)][entry_of(bytes.fromhex(digest))] = None
        return [encoded_index(seq, list(entries)) for entries in own]


def _score(score: float) -> str:
    return repr(float(score))
