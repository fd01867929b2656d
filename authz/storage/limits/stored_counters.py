"""What was used of limits, for administration: read, reset, and looked through for garbage."""

from collections.abc import Awaitable, Sequence
from typing import Any, Final

import redis.asyncio
from redis import exceptions

from authz.core.errors import Unavailable, Unreadable
from authz.core.limits.charge import Charge, Lease, SpendReply, SpendRequest
from authz.core.limits.key_limits import LimitGroup
from authz.storage import schema
from authz.storage.limits.spend_script import SPEND, arguments, hash_of, leases, receipt
from authz.storage.link import refusal
from authz.storage.replies import answered

# As spend.lua writes them: the first byte of a counter and its length, and of older buckets each.
COUNTERS: Final = {(1, 19), (2, 13), (3, 16)}
OLDER: Final = 7


class StoredCounters:
    """LimitCounters by the script of the sidecars, which only looks when asked for nothing."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    async def look(self, charge: Charge) -> SpendReply:
        """See LimitCounters. Read-only for the store, too."""
        count, *words = arguments(charge, SpendRequest(0))
        sha = await _asked(self._client.script_load(SPEND))
        look = self._client.evalsha_ro(sha, int(count), *words)
        return receipt(charge, await _asked(look))

    async def leases(self, accounts: Sequence[LimitGroup], now: int) -> list[list[Lease]]:
        """See LimitCounters."""
        pipeline = self._client.pipeline(transaction=False)
        for account in accounts:
            pipeline.hget(hash_of(account), schema.LEASES)
        found = await _asked(pipeline.execute())
        return [leases(_bytes(stored or ""), now) for stored in found]

    async def reset(self, kid: str) -> None:
        """See LimitCounters."""
        await _asked(self._client.delete(schema.limit(kid)))

    async def garbled(self, accounts: Sequence[str]) -> list[str]:
        """Which of these accounts no sidecar can count in; see schema.limit. Raises Unavailable."""
        pipeline = self._client.pipeline(transaction=False)
        for account in accounts:
            pipeline.hgetall(schema.limit(account))
        found = await _asked(pipeline.execute(raise_on_error=False))
        pairs = zip(accounts, found, strict=True)
        return [account for account, fields in pairs if not _is_whole(fields)]


async def _asked(answer: Awaitable[Any]) -> Any:
    """The reply. Raises Unavailable, of counters that cannot be understood Unreadable."""
    return await answered(_not_refused(answer))


async def _not_refused(answer: Awaitable[Any]) -> Any:
    try:
        return await answer
    except exceptions.ResponseError as cause:
        problem = refusal(cause)
        if problem.startswith(("GARBLED ", "WRONGTYPE ")):
            raise Unreadable(problem) from None
        raise Unavailable(f"the store refused: {problem}") from None


def _is_whole(fields: Any) -> bool:
    if not isinstance(fields, dict):
        return False
    return all(
        len(value) % OLDER == 0 if name.endswith(" older") else _is_counter(value)
        for name, value in ((name, _bytes(text)) for name, text in fields.items())
        if name != schema.LEASES  # nothing is decided by it, and each lease is written anew
    )


def _is_counter(value: bytes) -> bool:
    return (value[:1] and value[0], len(value)) in COUNTERS


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
