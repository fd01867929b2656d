"""A store with one partition that a test moves to several, step by step.

It moves keys, their indexes, their limits and no more, and waits between the steps as the test
wishes.
"""

from collections.abc import Sequence

from authz.core.partitions import Partitions
from authz.flows.lifecycle import Changed
from authz.storage import schema
from authz.storage.index_members import short_member
from authz.storage.schema import Names
from tests.support.real import Valkey

COUNT = 8
OLD = Names()
NEW = [Names(partition=at, partitions=COUNT) for at in range(COUNT)]
FREEZE = """
for _, name in ipairs(KEYS) do
  if redis.call('EXISTS', name) == 1 then redis.call('RENAME', name, 'aside:' .. name) end
  redis.call('RPUSH', name, 'the store is moving')
end
"""


def at_home(keys: Sequence[Changed]) -> list[Changed]:
    """Return the keys whose kids lead to the home of their owner, with eight partitions."""
    eight = Partitions(COUNT)
    return [key for key in keys if eight.of(key.record.kid) == eight.home_of(key.record)]


class MovedStore:
    """The store of this server. keys: all that it has."""

    def __init__(self, valkey: Valkey, keys: Sequence[Changed]) -> None:
        self._admin = valkey.admin
        self._keys = keys

    def announce(self) -> None:
        """Say that the store is about to have eight partitions."""
        self._admin.hset(OLD.meta, schema.META_RESHARDING, str(COUNT))

    def cancel(self) -> None:
        """Take the announcement back, and take changes again."""
        for aside in self._admin.keys("aside:*"):
            self._admin.rename(aside, aside.removeprefix("aside:"))
        self._admin.hdel(OLD.meta, schema.META_RESHARDING)

    def freeze(self) -> None:
        """Take no more changes, and count no more limits."""
        names = [OLD.seq, *(OLD.limit(key.record.kid) for key in self._keys)]
        self._admin.eval(FREEZE, len(names), *names)

    def copy(self) -> None:
        """Copy the keys and their limits to their homes."""
        for key in self._keys:
            record = key.record
            home = NEW[Partitions(COUNT).home_of(record)]
            self._admin.copy(OLD.key(record.kid), home.key(record.kid))
            self._admin.zadd(home.keys, {record.kid: record.created_at})
            limit = OLD.limit(record.kid)
            if self._admin.exists(f"aside:{limit}"):
                self._admin.copy(f"aside:{limit}", home.limit(record.kid))
            natural = Partitions(COUNT).of(record.kid)
            if NEW[natural] is not home:
                member = short_member(record.kid).encode(errors="surrogateescape")
                self._admin.hset(NEW[natural].moved, member, str(home.partition))

    def complete(self, partitions: Sequence[Names] = tuple(NEW)) -> None:
        """Write authz:meta of these partitions."""
        seq = int(self._admin.get(f"aside:{OLD.seq}")) + 1
        found = self._admin.hgetall(OLD.meta)
        found.pop(schema.META_RESHARDING)
        for names in partitions:
            self._admin.set(names.seq, seq)
            fields = {
                schema.META_SCHEMA: schema.SCHEMA_MOVED,
                schema.META_MOVED: "1",
                schema.META_PARTITIONS: COUNT,
                schema.META_PARTITION: names.partition,
            }
            self._admin.hset(names.meta, mapping=found | fields)

    def switch(self) -> None:
        """Put the signpost in the place of authz:meta."""
        with self._admin.pipeline(transaction=True) as steps:
            steps.delete(OLD.meta)
            steps.hset(
                OLD.meta,
                mapping={
                    schema.META_SCHEMA: "1",
                    schema.META_PARTITIONS: COUNT,
                    schema.META_COMPLETE: "1",
                },
            )
            steps.execute()

    def move(self) -> None:
        """Make all steps, one after the other."""
        self.announce()
        self.freeze()
        self.copy()
        self.complete()
        self.switch()
