"""StoredCounters: reads, resets and checks limit counters, for administration."""

from collections.abc import Awaitable, Sequence
from typing import Any, Final

import redis.asyncio
from redis import exceptions

from authz.core.errors import Unavailable, Unreadable
from authz.core.limits.charge import Charge, Lease, SpendReply, SpendRequest
from authz.core.limits.counters import BudgetCounter
from authz.core.limits.key_limits import LimitGroup
from authz.core.limits.limit_counters import credits_field
from authz.core.limits.periods import NEVER_ENDS_MS
from authz.core.usage.commit import Budget, Commit, Settlement
from authz.core.usage.counts import Level
from authz.storage import schema
from authz.storage.limits.spend_script import SPEND, arguments, hash_of, leases, spend_reply
from authz.storage.refusals import refusal
from authz.storage.replies import checked
from authz.storage.usage.usage_script import COMMIT, COUNTED
from authz.storage.usage.usage_script import arguments as commit_arguments

# As lua/spend.lua writes them: first byte and length of a counter, and length of an older bucket.
COUNTERS: Final = {(1, 19), (2, 13), (3, 16), (4, 19)}  # (4, 19): what was settled of a period
OLDER: Final = 7
PIPELINE: Final = 1000  # commands in one round trip
_CREDITS: Final = bytes([2]) + NEVER_ENDS_MS.to_bytes(6)  # kind and end of the period
_SETTLED: Final = bytes([4]) + _CREDITS[1:]


class StoredCounters:
    """LimitCounters by the sidecars' script, which writes nothing if zero requests are wanted."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._names = schema.names_of(client)

    async def look(self, charge: Charge) -> SpendReply:
        """Return the units left and the waits. Count nothing: EVALSHA_RO refuses any write.

        `granted` is 0, or negative for a wrong calendar period. Loads the script into the store
        first. Raises Unreadable for garbled counters, Unavailable if the store fails.
        """
        count, *words = arguments(charge, SpendRequest(0), names=self._names)
        sha = await _reply(self._client.script_load(SPEND))
        look = self._client.evalsha_ro(sha, int(count), *words)
        return spend_reply(charge, await _reply(look))

    async def leases(self, groups: Sequence[LimitGroup], now: int) -> list[list[Lease]]:
        """Return each group's leases that are valid at `now`.

        An empty list for a group without any. Garbled leases are left out. now: ms since the epoch
        by the store's clock. Takes one round trip. Raises Unavailable.
        """
        pipeline = self._client.pipeline(transaction=False)
        for group in groups:
            pipeline.hget(hash_of(group, self._names), schema.LEASES)
        found = await _reply(pipeline.execute())
        return [leases(_bytes(stored or ""), now) for stored in found]

    async def spent(self, charge: Charge) -> list[int]:
        """Implement SettledBudgets.spent. Takes one round trip, none without budgets."""
        budgets = [
            (hash_of(group, self._names), counter)
            for group, counters in charge.groups
            for counter in counters
            if isinstance(counter, BudgetCounter)
        ]
        if not budgets:
            return []
        pipeline = self._client.pipeline(transaction=False)
        for name, counter in budgets:
            pipeline.hget(name, f"{counter.field} settled")
        found = await _reply(pipeline.execute())
        pairs = zip(budgets, found, strict=True)
        return [_spent(name, counter, reply) for (name, counter), reply in pairs]

    async def reset(self, kid: str) -> None:
        """Delete the usage counters and leases of a key, not those of its project or tenant.

        Credits stay: only a refill adds to them. Credits that cannot be read are deleted.
        Does nothing if there are none. Raises Unavailable.
        """
        name = self._names.limit(kid)
        try:
            found = await _reply(self._client.hgetall(name))
        except Unreadable:  # no hash
            found = {}
        others = [field for field, value in found.items() if not _is_credits(_bytes(value))]
        if len(others) == len(found):
            await _reply(self._client.delete(name))
        elif others:
            await _reply(self._client.hdel(name, *others))

    async def refund(self, charge: Charge, units: int, now_ms: int) -> None:
        """Implement Refunds.refund, by the script of the meter: a negative use is settled."""
        ((group, (counter,)),) = charge.groups
        if not isinstance(counter, BudgetCounter):
            raise TypeError("only budgets are refunded")
        budget = Budget(group, counter.ends_ms, counter.field)
        commit = Commit(settlements={budget: Settlement(-units, 0)})
        words = commit_arguments(self._names, commit, [], {Level.DAY: 0}, now_ms)
        sha = await _reply(self._client.script_load(COMMIT))
        reply = await _reply(self._client.evalsha(sha, int(words[0]), *words[1:]))
        if reply[1] != COUNTED or reply[3]:
            raise Unavailable("the store did not count it")

    async def garbled(self, groups: Sequence[str]) -> list[str]:
        """Return those of `groups` whose counters cannot be read; names as in Names.limit.

        A group without counters is readable, and leases are not checked. Raises Unavailable.
        """
        pipeline = self._client.pipeline(transaction=False)
        for group in groups:
            pipeline.hgetall(self._names.limit(group))
        found = await _reply(pipeline.execute(raise_on_error=False))
        pairs = zip(groups, found, strict=True)
        return [group for group, fields in pairs if not _is_readable(fields)]


class StoredCredits:
    """CreditCounters over redis-py."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._names = schema.names_of(client)

    async def used(self, groups: Sequence[LimitGroup]) -> list[int]:
        """Implement CreditCounters.used: return the used units of each group, in order, or 0.

        Reads PIPELINE (1,000) groups in one round trip. Raises Unreadable for a garbled counter,
        Unavailable if the store fails.
        """
        found: list[int] = []
        for start in range(0, len(groups), PIPELINE):
            pipeline = self._client.pipeline(transaction=False)
            names = [
                (hash_of(group, self._names), credits_field(group.limits[0]))
                for group in groups[start : start + PIPELINE]
            ]
            for name in names:
                pipeline.hget(*name)
            replies = await _reply(pipeline.execute())
            found += [_used(*name, reply) for name, reply in zip(names, replies, strict=True)]
        return found


def _spent(name: str, counter: BudgetCounter, reply: str | None) -> int:
    """Return the used units, 0 of another period. Raises Unreadable for a garbled value."""
    if reply is None:
        return 0
    value = _bytes(reply)
    if not (_is_counter(value) and value[0] == _SETTLED[0]):
        raise Unreadable(f"GARBLED {name} {counter.field} settled")
    is_current = int.from_bytes(value[1:7]) == counter.ends_ms
    return int.from_bytes(value[7:13]) if is_current else 0


def _used(name: str, field: str, reply: str | None) -> int:
    """Return the units of a counter of credits, 0 for None. Raises Unreadable for another value."""
    if reply is None:
        return 0
    value = _bytes(reply)
    if not _is_credits(value):
        raise Unreadable(f"GARBLED {name} {field}")
    return int.from_bytes(value[len(_CREDITS) :])


async def _reply(answer: Awaitable[Any]) -> Any:
    """Return the awaited reply.

    Raises Unreadable if the store reports garbled counters, Unavailable for any other error.
    """
    return await checked(_without_refusal(answer))


async def _without_refusal(answer: Awaitable[Any]) -> Any:
    try:
        return await answer
    except exceptions.ResponseError as cause:
        problem = refusal(cause)
        if problem.startswith(("GARBLED ", "WRONGTYPE ")):
            raise Unreadable(problem) from None
        raise Unavailable(f"the store refused: {problem}") from None


def _is_readable(fields: Any) -> bool:
    if not isinstance(fields, dict):
        return False
    return all(
        len(value) % OLDER == 0 if name.endswith(" older") else _is_counter(value)
        for name, value in ((name, _bytes(text)) for name, text in fields.items())
        if name != schema.LEASES  # no decision depends on it
    )


def _is_counter(value: bytes) -> bool:
    return (value[:1] and value[0], len(value)) in COUNTERS


def _is_credits(value: bytes) -> bool:
    return _is_counter(value) and value[:7] in {_CREDITS, _SETTLED}


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
