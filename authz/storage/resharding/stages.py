"""Stages: how far the move of a store has come, as a hash of the old store says."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

import redis.asyncio

from authz.core.errors import Conflict, Foreign, Unavailable
from authz.storage import meta, schema
from authz.storage.essential import ALLOW_OOM
from authz.storage.replies import checked
from authz.storage.resharding.lease import TAKEN_OVER

THAWED: Final = (
    "the store takes changes, although the move was decided: a failover has lost the freeze; it is "
    "in force as it was, and the partitions have to be removed before another move"
)
DECIDED: Final = "the move is decided; end it with `authz init --reshard`"


class Stage(StrEnum):
    """How far a move has come. From DECIDED on it can only be ended."""

    COPYING = "copying"
    FROZEN = "frozen"
    DECIDED = "decided"
    SWITCHED = "switched"


ENDS: Final = frozenset({Stage.DECIDED, Stage.SWITCHED})
# The stages that each one may follow. So a run either decides the move, or thaws the store.
_AFTER: Final[Mapping[Stage, Sequence[str]]] = {
    Stage.COPYING: ("", Stage.COPYING, Stage.FROZEN),
    Stage.FROZEN: (Stage.COPYING,),
    Stage.DECIDED: (Stage.FROZEN,),
}


class Stages:
    """The stage of the move to `count` partitions. client: of the old store. run: of its lease."""

    def __init__(
        self, client: redis.asyncio.Redis, run: str, count: int, fingerprints: Mapping[str, str]
    ) -> None:
        self._client: Any = client
        self._names = schema.names_of(client)
        self._run = run
        self._count = count
        self._fingerprints = fingerprints
        self._advance = client.register_script(ALLOW_OOM + _ADVANCE)
        self._switch = client.register_script(ALLOW_OOM + _SWITCH)
        self._is_in_time = client.register_script(ALLOW_OOM + _IS_IN_TIME)

    async def read(self) -> Stage | None:
        """Return how far an earlier run came; None if there was none.

        Raises Foreign if the store is not ours, if it has several partitions already, or if the
        earlier run moves it to another number; Unavailable.
        """
        found = await checked(self._client.hgetall(self._names.resharding))
        content = await checked(self._client.hgetall(self._names.meta))
        if found and found.get("partitions") != str(self._count):
            raise Foreign(
                f"a move to {found.get('partitions')} partitions was begun, and redis.partitions "
                f"is {self._count}; set it to that number, then end the move or cancel it"
            )
        stage = Stage(found["stage"]) if found else None
        if stage is not Stage.SWITCHED:
            meta.verify(content, self._fingerprints, self._names)
        return stage

    async def is_moved(self) -> bool:
        """Return whether the store has this number of partitions, and no move is to be ended."""
        if await checked(self._client.exists(self._names.resharding)):
            return False
        content = await checked(self._client.hgetall(self._names.meta))
        return bool(content) and meta.partitions_in(content) == str(self._count)

    async def go_on_to(self, stage: Stage) -> None:
        """Note a stage. Raises Conflict if the lease is lost, or another stage was before.

        Also if another run has begun since this one did. DECIDED: also if the store is not frozen.
        """
        keys = [self._names.resharder, self._names.resharding, self._names.seq]
        args: list[str | int] = [self._run, stage, self._count, *_AFTER[stage]]
        if not await checked(self._advance(keys=keys, args=args)):
            raise Conflict(TAKEN_OVER)

    async def refuse_if_late(self) -> None:
        """Raise Conflict if the lease is lost, or a run has switched the store; Unavailable.

        The partitions may be in use then, and no plain write of this run may change them.
        """
        keys = [self._names.resharder, self._names.resharding]
        if not await checked(self._is_in_time(keys=keys, args=[self._run, Stage.SWITCHED])):
            raise Conflict(TAKEN_OVER)

    async def announce(self) -> None:
        """Name the coming number of partitions in authz:meta. Raises Unavailable."""
        fields = {schema.META_RESHARDING: str(self._count)}
        await checked(self._client.hset(self._names.meta, mapping=fields))

    async def drop(self) -> None:
        """Forget a move that was cancelled. Raises Unavailable."""
        await checked(self._client.hdel(self._names.meta, schema.META_RESHARDING))
        await self.end()

    async def end(self) -> None:
        """Forget a move that has ended. Raises Unavailable."""
        await checked(self._client.delete(self._names.resharding))

    async def content(self) -> Mapping[str, str]:
        """Return authz:meta of the old store, without the coming number. Raises Unavailable."""
        found: dict[str, str] = await checked(self._client.hgetall(self._names.meta))
        found.pop(schema.META_RESHARDING, None)
        return found

    async def switch(self, content: Mapping[str, str]) -> bool:
        """Put the signpost in the place of authz:meta. It can be repeated.

        content: of authz:meta, as the partitions have it. Return False if it is another one now.
        Raises Conflict if the lease is lost or the store takes changes, Unavailable.
        """
        names = self._names
        fields = {
            schema.META_SCHEMA: str(schema.SCHEMA),
            schema.META_PARTITIONS: str(self._count),
            schema.META_COMPLETE: "1",
        }
        words = [text for pair in (*fields.items(), *content.items()) for text in pair]
        keys = [names.resharder, names.resharding, names.meta, names.seq]
        about: list[str | int] = [self._run, Stage.SWITCHED, schema.META_RESHARDING, len(fields)]
        answer = await checked(self._switch(keys=keys, args=[*about, *words]))
        if answer in _REFUSALS:
            raise Conflict(_REFUSALS[answer])
        return bool(answer == "done")


def with_advice(cause: Unavailable) -> Unavailable:
    """Return a fault after the decision, with what is to be done."""
    return Unavailable(f"{cause}; {DECIDED}")


_ADVANCE: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local stage = redis.call('HGET', KEYS[2], 'stage') or ''
if ARGV[2] ~= 'copying' and redis.call('HGET', KEYS[2], 'run') ~= ARGV[1] then return 0 end
if ARGV[2] == 'decided' and redis.call('TYPE', KEYS[3])['ok'] ~= 'list' then return 0 end
for at = 4, #ARGV do
  if stage == ARGV[at] then
    redis.call('HSET', KEYS[2], 'stage', ARGV[2], 'partitions', ARGV[3], 'run', ARGV[1])
    return 1
  end
end
return 0
"""

_IS_IN_TIME: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local stage = redis.call('HGET', KEYS[2], 'stage')
return stage and stage ~= ARGV[2] and 1 or 0
"""

_REFUSALS: Final = {"taken": TAKEN_OVER, "thawed": THAWED}
_SWITCH: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'taken' end
if redis.call('HGET', KEYS[2], 'stage') == ARGV[2] then return 'done' end
if redis.call('TYPE', KEYS[4])['ok'] ~= 'list' then return 'thawed' end
local first = 5 + 2 * ARGV[4]
local count = redis.call('HLEN', KEYS[3]) - redis.call('HEXISTS', KEYS[3], ARGV[3])
if count ~= (#ARGV - first + 1) / 2 then return 'changed' end
for at = first, #ARGV, 2 do
  if redis.call('HGET', KEYS[3], ARGV[at]) ~= ARGV[at + 1] then return 'changed' end
end
redis.call('DEL', KEYS[3])
redis.call('HSET', KEYS[3], unpack(ARGV, 5, first - 1))
redis.call('HSET', KEYS[2], 'stage', ARGV[2])
return 'done'
"""
