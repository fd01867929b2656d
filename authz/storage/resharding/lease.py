"""RunLease: lets one run at a time move a store, and ends the work of a run that lost it."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

import redis.asyncio

from authz.core.errors import Conflict, Unavailable
from authz.storage import schema
from authz.storage.essential import ALLOW_OOM
from authz.storage.replies import checked

LIFE_MS: Final = 15_000  # of the lease after its last renewal
RENEWAL: Final = 3.0  # seconds
ANOTHER: Final = (
    "another run moves this store at this moment, or was killed less than "
    f"{LIFE_MS // 1000} s ago; try again when it has ended"
)
TAKEN_OVER: Final = "this run was taken for dead by another one, which goes on; wait for its result"

T = TypeVar("T")


class RunLease:
    """A string of the old store with a time to live. run: a text that no other run has."""

    def __init__(self, client: redis.asyncio.Redis, run: str) -> None:
        self._client = client
        self._name = schema.names_of(client).resharder
        self._names = [self._name, schema.names_of(client).resharding]
        self.run = run
        self._begin = client.register_script(ALLOW_OOM + _BEGIN)
        self._renew = client.register_script(ALLOW_OOM + _RENEW)
        self._end = client.register_script(_END)

    async def hold(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns while this run has the lease.

        Raises Conflict if another run has it, or takes it meanwhile; then the work is cancelled.
        """
        try:
            await self._take()
        except BaseException:
            work.close()
            raise
        doing, keeping = asyncio.create_task(work), asyncio.create_task(self._keep())
        try:
            await asyncio.wait({doing, keeping}, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                return doing.result()
            raise Conflict(TAKEN_OVER)
        finally:
            for task in (doing, keeping):
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task
            with suppress(Unavailable):
                await checked(self._end(keys=[self._name], args=[self.run]))

    async def _take(self) -> None:
        if not await checked(self._begin(keys=[self._name], args=[self.run, LIFE_MS])):
            raise Conflict(ANOTHER)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(RENEWAL)
            with suppress(Unavailable):  # it is asked again before the lease ends
                if not await checked(self._renew(keys=self._names, args=[self.run, LIFE_MS])):
                    return


# Also on a full store: perhaps the copies have filled it, and are to be removed.
_BEGIN: Final = "return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2], 'NX') and 1 or 0"

# A run that was late takes its lease again, unless another one has it, or has begun the move again
# meanwhile: see stages.py.
_RENEW: Final = """
local holder = redis.call('GET', KEYS[1])
local last = redis.call('HGET', KEYS[2], 'run') or ARGV[1]
if holder and holder ~= ARGV[1] or not holder and last ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

_END: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"
