"""UsageLink: adds usage to the store, on a link of the meter.

Rules:
1. A commit whose reply was lost may have been added. The caller asks again with the same digests,
   and the store tells.
2. A reply later than the deadline ends the link, because later replies on it would be late too.
3. The store's time is that of the last reply, and the monotonic time since then.
4. Nothing is written into a store without authz:meta: it was emptied, or is not set up; nor into
   one with another number of partitions, nor into that of another installation (known_store.py).
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import hiredis

from authz.core.bounded import BoundedDict
from authz.core.errors import Unavailable
from authz.core.ports import Clock
from authz.core.usage.commit import Commit
from authz.core.usage.counts import Level
from authz.core.usage.ports import Closed, CommitReply, Counted, Known, TooOld
from authz.storage import meta, schema
from authz.storage.endpoint import Endpoint
from authz.storage.link import Link
from authz.storage.linked_script import LinkedScript, StoreFunction
from authz.storage.primary_link import PrimaryLink
from authz.storage.refusals import RIGHT_MISSING
from authz.storage.signpost import refuse_other_count
from authz.storage.usage.known_store import FIELDS, KnownStore
from authz.storage.usage.usage_script import (
    CALLERS,
    CLOSED,
    COMMIT,
    COUNTED,
    FOREIGN,
    KNOWN,
    arguments,
)

CONNECTION_NAME: Final = "authz-meter"
DEADLINE: Final = 5.0  # seconds for a reply
MAX_CALLERS: Final = 100_000  # of keys and days, which are known to be in the store
EMPTIED: Final = (
    "the store's data is gone: restore it with `authz restore FILE`; do not run `authz init`"
)
REPLACED: Final = "the store was emptied, or another one took its place"
UNREADABLE: Final = (
    "our user may not read authz:meta, so meter.pepper_fingerprint cannot be compared; "
    "give it the rights in deploy/redis/users.acl"
)


class UsageLink:
    """A UsageStore. `run` keeps the link open.

    kept: seconds for which rows are kept, by level. callers_kept: seconds for which the callers of
    a key are remembered, for the judgement of its hours; 0: not at all. script: with the interface
    of lua/commit_usage.lua. known: what is known about the store before the first connection.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        clock: Clock,
        kept: Mapping[Level, int],
        *,
        callers_kept: int = 0,
        deadline: float = DEADLINE,
        script: str = COMMIT,
        known: KnownStore | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._store = known or KnownStore()
        self._clock = clock
        self._kept = {level.value: seconds for level, seconds in kept.items()}
        self._kept[CALLERS] = callers_kept
        self._deadline = deadline
        self._script = LinkedScript(StoreFunction("commit_usage", script))
        self._primary = PrimaryLink(
            endpoint,
            clock,
            name=CONNECTION_NAME,
            subject="usage is",
            prepare=self._prepare,
            logs_first=True,
        )
        self._store_ms: tuple[int, float] | None = None
        self._known: BoundedDict[tuple[str, int, str], None] = BoundedDict(MAX_CALLERS)

    @property
    def reason(self) -> str:
        """The known reason why nothing can be counted; "" while a link is open."""
        return self._primary.reason

    def now_ms(self) -> int | None:
        """Return the store's time in ms since the epoch; None before the first connection.

        It is the time of the last reply plus the monotonic time since then, also without a link.
        """
        if self._store_ms is None:
            return None
        at, received = self._store_ms
        return at + round((self._clock.monotonic() - received) * 1000)

    async def commit(
        self, commit: Commit, digests: Sequence[bytes], arrived_ms: int
    ) -> CommitReply:
        """Implement UsageStore.commit: add all and return Counted, or add nothing.

        Known: the digests that were counted before. TooOld: the oldest batch came over an hour ago.
        Callers that earlier commits of this link added are removed from `commit`, in place. Raises
        Unavailable without a link, if the reply is late or lost, or if the store refuses or has no
        authz:meta.
        """
        link = self._primary.link
        if link is None:
            raise Unavailable(self.reason)
        shown = self._without_known_callers(commit)
        names = self._endpoint.names
        words = arguments(names, commit, digests, self._kept, arrived_ms, proof=self._store.proof)
        reply = await self._answer(link, words)
        self._keep_time(int(reply[0]))
        if reply[1] == KNOWN:
            return Known(frozenset(digests[at - 1] for at in reply[2:]))
        if reply[1] == FOREIGN:
            link.abort(REPLACED)  # the next connection finds out which
            raise Unavailable(REPLACED)
        if reply[1] != COUNTED:
            return Closed() if reply[1] == CLOSED else TooOld()
        for each in shown:
            self._known.put(each, None)
        return Counted(*reply[2:])

    async def run(self) -> None:
        """Keep a link open until cancelled. Faults are logged when they change, not raised."""
        await self._primary.run()

    async def _answer(self, link: Link, words: tuple[str | bytes, ...]) -> list[Any]:
        """Return the reply of the script. Load the script if the store lost it.

        Raises Unavailable. After the deadline the link is dropped.
        """
        loop = asyncio.get_running_loop()
        for _ in range(2):
            answer: asyncio.Future[Any] = loop.create_future()
            link.send(partial(_resolve, answer), *self._script.call, *words)
            late = loop.call_later(
                self._deadline, link.abort, f"it has not answered for {self._deadline:g} s"
            )
            try:
                reply = await answer
            finally:
                late.cancel()
            if isinstance(reply, list):
                return reply
            if not self._script.load_again(link, reply):
                break
        if isinstance(reply, hiredis.ReplyError):
            problem = self._script.explained(reply)
            link.abort(f"it does not count usage: {problem}")  # behind Sentinel: another store
            raise Unavailable(f"the store refused: {problem}")
        raise reply if isinstance(reply, Unavailable) else Unavailable(str(reply))

    async def _prepare(self, link: Link) -> None:
        if not await link.call("EXISTS", self._endpoint.names.meta):
            await refuse_other_count(self._endpoint)
            raise Unavailable(EMPTIED if self._store.is_known else meta.NOT_INITIALISED)
        await self._refuse_foreign(link)
        await self._script.prepare(link)
        seconds, microseconds = await link.call("TIME")
        self._keep_time(int(seconds) * 1000 + int(microseconds) // 1000)

    async def _refuse_foreign(self, link: Link) -> None:
        """Raise Foreign if the store has another number of partitions, or other peppers."""
        names = self._endpoint.names
        fields = (schema.META_PARTITIONS, schema.META_PARTITION, *FIELDS)
        try:
            texts = await link.call("HMGET", names.meta, *fields)
        except Unavailable as cause:
            if RIGHT_MISSING not in str(cause):
                raise
            if self._store.is_known:
                raise Unavailable(UNREADABLE) from None
            return  # users of a version without partitions
        found = {field: text for field, text in zip(fields, texts, strict=True) if text is not None}
        meta.refuse_partitions(found, names)
        self._store.accept({field: text for field, text in found.items() if field in FIELDS})

    def _keep_time(self, store_ms: int) -> None:
        self._store_ms = store_ms, self._clock.monotonic()

    def _without_known_callers(self, commit: Commit) -> list[tuple[str, int, str]]:
        """Remove the callers that earlier commits of this link added from `commit`, in place.

        Return the others as kid, hour and network, or `agent ` and the family of user agents.
        """
        shown = []
        for kid, usage in commit.keys.items():
            for mark, hours in (("", usage.networks), ("agent ", usage.agents)):
                for hour, names in hours.items():
                    known = [one for one in names if (kid, hour, mark + one) in self._known]
                    names.difference_update(known)
                    shown += [(kid, hour, mark + one) for one in names]
        return shown


def _resolve(answer: asyncio.Future[Any], reply: Any) -> None:
    if not answer.done():  # else the waiting task was cancelled
        answer.set_result(reply)
