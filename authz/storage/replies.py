"""Replies of redis-py for administration, with its exceptions as Unavailable."""

from collections.abc import Awaitable, Sequence
from itertools import chain
from typing import Any, Final

import redis.asyncio
from redis import exceptions

from authz.core.errors import Frozen, Unavailable
from authz.storage import encoding, schema
from authz.storage.essential import is_full
from authz.storage.moves import DONE, FROZEN, move_in
from authz.storage.refusals import IS_MOVING, has_advice, refusal

FULL_ADVICE: Final = (
    "raise its maxmemory or remove data; revoking, disabling and shrinking keys still works"
)
DAMAGED: Final = (
    "the store is damaged, or moves to other partitions at this moment: a value has another type "
    "than ours (WRONGTYPE); try again in a few seconds, then ask `authz doctor`"
)
MOVING: Final = f"{FROZEN}; try again in a few seconds"
PIPELINE: Final = 1000  # commands in one round trip
TRANSACTION: Final = 200  # the store does nothing else meanwhile
EXACT: Final = 1 << 53  # up to here a double holds each whole number


class Garbled(Unavailable):
    """The store has a value of the right type with content that nobody can read."""


async def checked(answer: Awaitable[Any], advice: str = "") -> Any:
    """Return the awaited reply. Raises Unavailable for any error of redis-py or the network.

    Its text is the cause, then `advice`. A full store, a failed login and a missing right have
    their own advice instead.
    """
    try:
        return await answer
    except (exceptions.RedisError, OSError) as cause:
        raise unusable(cause, advice) from None


def unusable(cause: Exception, advice: str = "") -> Unavailable:
    """Return an error of redis-py or the network as the fault that `checked` raises."""
    if is_full(cause):
        return Unavailable(f"the store is full: {FULL_ADVICE}")
    if "WRONGTYPE Operation" in str(cause):  # a pipeline names its command before
        return Frozen(DAMAGED)
    why = refusal(cause)
    problem = f"the store cannot be used: {why}".removesuffix(".")
    return Unavailable(f"{problem}; {advice}" if advice and not has_advice(why) else problem)


def refused_change(cause: Exception) -> Unavailable:
    """Return the error reply to a change of a record, of which nothing was made, as a fault."""
    why = refusal(cause)
    return (Frozen if why == IS_MOVING else Unavailable)(f"the store refused the change: {why}")


async def last_change(client: redis.asyncio.Redis, advice: str = "") -> int:
    """Return the number of the store's last change, or 0.

    Raises Unavailable, and Garbled if the store has something else there.
    """
    names = schema.names_of(client)
    try:
        found: Any = await client.get(names.seq)
    except (exceptions.RedisError, OSError) as cause:
        if str(cause).startswith("WRONGTYPE"):
            refuse_moving(await checked(client.hgetall(names.meta), advice))
        raise unusable(cause, advice) from None
    try:
        return encoding.number(names.seq, found or "0")
    except ValueError as cause:
        raise Garbled(str(cause)) from None


def refuse_moving(meta: Any) -> None:
    """Raise Frozen if authz:meta says that the store moves or was moved. `seq` is a list then.

    meta: the reply to HGETALL.
    """
    if isinstance(meta, dict) and (move := move_in(meta)) is not None:
        raise Frozen((DONE if move.is_done else MOVING).format(move.count))


async def pipelined(client: redis.asyncio.Redis, commands: Sequence[tuple[str, ...]]) -> list[Any]:
    """Return the reply to each command, with PIPELINE (1,000) commands in a round trip.

    Raises what `checked` raises.
    """
    found: list[Any] = []
    for start in range(0, len(commands), PIPELINE):
        async with client.pipeline(transaction=False) as pipeline:
            for command in commands[start : start + PIPELINE]:
                pipeline.execute_command(*command)
            found += await checked(pipeline.execute())
    return found


async def at_one_moment(
    client: redis.asyncio.Redis, groups: Sequence[Sequence[tuple[str, ...]]]
) -> list[list[Any]]:
    """Return the replies to the commands of each group; each group is run at one moment.

    Takes a transaction for TRANSACTION (200) commands or a little more. Raises what `checked`
    raises.
    """
    found: list[list[Any]] = []
    waiting: list[Sequence[tuple[str, ...]]] = []

    async def run() -> None:
        async with client.pipeline(transaction=True) as pipeline:
            for command in chain.from_iterable(waiting):
                pipeline.execute_command(*command)
            replies = iter(await checked(pipeline.execute()))
        found.extend([next(replies) for _ in group] for group in waiting)
        waiting.clear()

    for group in groups:
        waiting.append(group)
        if sum(map(len, waiting)) >= TRANSACTION:
            await run()
    if waiting:
        await run()
    return found


def whole(score: float, most: int = EXACT) -> int:
    """Return a score of a sorted set as a whole number, rounded down, within 0 to `most`.

    Scores can be fractions, negative and infinite.
    """
    return int(max(0, min(score, most)))


async def describe_full(client: redis.asyncio.Redis) -> str:
    """Describe a full store in one line: how much memory is used, and the remedy.

    If INFO is refused or fails, the line has no amounts. Raises nothing.
    """
    try:
        found = await client.info("memory")
        used, limit = (mebibytes(found[name]) for name in ("used_memory", "maxmemory"))
    except (exceptions.RedisError, OSError, LookupError, ValueError):  # such as a missing right
        return f"the store is full: {FULL_ADVICE}"
    return f"the store is full: {used} used of {limit} (maxmemory); {FULL_ADVICE}"


def mebibytes(count: int) -> str:
    """Return a number of bytes as text in whole MiB, rounded, such as `12 MiB`."""
    return f"{count / (1 << 20):.0f} MiB"
