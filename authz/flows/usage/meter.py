"""Meter: adds batches up for a short time, commits them, and confirms each after the store did.

Rules:
1. A batch is confirmed only after the store has its counts and its digest. Until then it is kept,
   so a batch whose commit failed is committed again.
2. A commit whose outcome is unknown is asked again with the same digests. If the store knows all of
   them, it had been added.
3. If the store knows some digests, it has added nothing. Their batches are confirmed and taken out,
   and the rest is added up again.
4. A batch that is sent again while it waits is one batch with two senders to answer.
5. Waiting batches are bounded in bytes. Beyond that a sender is asked to come again, and nothing
   that was taken is dropped.
6. An entry counts until two hours after the minute in which it ended, by the clock of the store. A
   commit that comes later than that adds nothing, and is made again without these entries. So a
   closed hour does not change.
7. A batch that waited for an hour is dropped unconfirmed. Its sender gave up long ago, and another
   meter may have counted it; completeness shows it if none has.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from authz.core.errors import Unavailable
from authz.core.ports import Clock
from authz.core.usage.commit import Commit
from authz.core.usage.counts import MINUTE_MS
from authz.core.usage.entry import Cause, EntryReader
from authz.core.usage.events import MeterEvent
from authz.core.usage.ports import Counted, Known, MeterProbe, TooOld, UsageStore
from authz.core.usage.tally import FUTURE_MS, PAST_MS, Clocks, Tally
from authz.flows.usage.batches import LINE_BYTES, Batch, Chunk, Confirmed, Deferred, digest_of

PERIOD: Final = 0.25  # seconds for which batches are added up
MAX_ROWS: Final = 200  # of a commit; the store takes a few ms for them
MAX_BYTES: Final = 64 * 1024 * 1024  # of waiting batches
MAX_BATCHES: Final = 1000  # of a commit
PAUSE: Final = 0.05  # seconds after a failed commit, doubled up to MAX_PAUSE
MAX_PAUSE: Final = 1.0
LATE_MS: Final = 3_600_000


class Meter:
    """Takes batches with `take`; `run` commits them.

    max_bytes: of batches that wait for the store. period: seconds for which batches are added up.
    max_rows: of one commit. reader: of entries; meters of one process may share it.
    """

    def __init__(
        self,
        store: UsageStore,
        clock: Clock,
        probe: MeterProbe,
        *,
        max_bytes: int = MAX_BYTES,
        period: float = PERIOD,
        max_rows: int = MAX_ROWS,
        reader: EntryReader | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._probe = probe
        self._max_bytes = max_bytes
        self._period = period
        self._max_rows = max_rows
        self._reader = reader or EntryReader()
        self._waiting: dict[bytes, Batch] = {}
        self._open = Chunk(self._reader)
        self._closed: deque[Chunk] = deque()
        self._repeated: dict[str, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.leaving = ""
        """Why no more batches are taken; empty while they are."""
        self.waiting_bytes = 0

    @property
    def waiting(self) -> int:
        """How many batches are not confirmed."""
        return len(self._waiting)

    @property
    def lag(self) -> float:
        """Seconds since the oldest batch came that is not confirmed; 0 if there is none."""
        now = self._store.now_ms()
        oldest = next(iter(self._waiting.values()), None)
        return 0.0 if oldest is None or now is None else max(0.0, (now - oldest.arrived_ms) / 1000)

    def take(self, raw: bytes, lines: Sequence[bytes]) -> Confirmed | Deferred:
        """Take a batch. Return a future that becomes True when it is in the store, or a Deferred.

        The future becomes False if the batch is dropped as too old. A batch that waits already is
        not taken twice. Deferred: the meter is leaving, the store's time is unknown, or `max_bytes`
        are waiting. raw: the message; its digest names the batch. lines: its entries.
        """
        digest, size = digest_of(raw), len(raw) + LINE_BYTES * len(lines)
        if digest not in self._waiting and (deferred := self.refusal(size)):
            self._probe.count(MeterEvent.BATCH_DEFERRED)
            return deferred
        return self.add(digest, lines, size)

    def refusal(self, size: int) -> Deferred | None:
        """Return why a batch of `size` bytes cannot be taken now; None if it can."""
        if self.leaving:
            return Deferred(self.leaving)
        if self._store.now_ms() is None:
            return Deferred("the store was not reached yet")
        if self._waiting and self.waiting_bytes + size > self._max_bytes:
            return Deferred("too many batches wait for the store")
        return None

    def add(self, digest: bytes, lines: Sequence[bytes], size: int) -> Confirmed:
        """Take a batch that `refusal` lets in, or that waits already; see `take`."""
        batch = self._waiting.get(digest)
        if batch is None:
            arrived = self._store.now_ms() or 0  # `refusal` has seen that it is known
            batch = self._waiting[digest] = Batch(digest, lines, size, arrived)
            self.waiting_bytes += size
            self._idle.clear()
            self._add(batch)
        sender: Confirmed = asyncio.get_running_loop().create_future()
        batch.senders.append(sender)
        return sender

    async def run(self) -> None:
        """Commit batches until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._closed:
                await self._commit(self._closed.popleft())
                await self._report_repeated()

    async def drain(self, seconds: float) -> bool:
        """Take no more batches, and wait at most `seconds` until none waits for the store.

        Return False if some still wait. `run` must go on meanwhile.
        """
        self.leaving = self.leaving or "the meter is stopping"
        self._close()
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def _add(self, batch: Batch) -> None:
        self._open.add(batch)
        chunk = self._open
        if chunk.tally.size >= self._max_rows or len(chunk.batches) >= MAX_BATCHES:
            self._close()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._period, self._close)

    def _close(self) -> None:
        """Hand the open chunk over to `run`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._open.batches:
            self._count_entries(self._open.tally)
            self._closed.append(self._open)
            self._open = Chunk(self._reader)
            self._work.set()

    def _count_entries(self, tally: Tally) -> None:
        """Count the entries that were refused or that run, once for each batch that came."""
        self._probe.count(MeterEvent.ENTRY_RUNNING, tally.running)
        for cause, number in tally.refused.items():
            self._probe.refused(cause, number)

    async def _commit(self, chunk: Chunk) -> None:
        """Commit a chunk until each of its batches is confirmed or dropped."""
        pause, is_repeated = PAUSE, False
        while chunk.batches:
            began = self._clock.monotonic()
            commit = self._commit_of(chunk)
            digests = list(chunk.batches)
            oldest = min(batch.arrived_ms for batch in chunk.batches.values())
            try:
                reply = await self._store.commit(commit, digests, oldest)
            except Unavailable:
                self._probe.count(MeterEvent.COMMIT_FAILED)
                await asyncio.sleep(pause)
                pause, is_repeated = min(2 * pause, MAX_PAUSE), True
                continue
            if isinstance(reply, Counted):
                self._probe.committed(self._clock.monotonic() - began)
                self._on_counted(chunk, commit, reply)
            elif isinstance(reply, Known):
                is_ours = is_repeated and len(reply.digests) == len(digests)
                self._on_known(chunk, reply.digests, commit if is_ours else None)
                is_repeated = False
            elif isinstance(reply, TooOld):
                self._drop_old(chunk)

    def _commit_of(self, chunk: Chunk) -> Commit:
        now = self._store.now_ms() or 0
        commit = chunk.tally.commit(Clocks.near(now, PAST_MS, FUTURE_MS))
        oldest = min((minute for minute, _, _ in commit.totals), default=None)
        if oldest is not None:
            commit.until_ms = (oldest + 1) * MINUTE_MS + PAST_MS
        return commit

    async def _report_repeated(self) -> None:
        """Tell the store how many entries came again. It is a note: a failure is ignored."""
        repeated, self._repeated = self._repeated, {}
        now = self._store.now_ms()
        if repeated and now is not None:
            with suppress(Unavailable):
                await self._store.commit(Commit(repeated=repeated), [], now)

    def _on_counted(self, chunk: Chunk, commit: Commit, reply: Counted) -> None:
        self._probe.count(MeterEvent.COUNTER_FULL, reply.full)
        self._probe.count(MeterEvent.KEY_GARBLED, reply.garbled)
        self._count_commit(chunk, commit)
        self._confirm(chunk.remove(frozenset(chunk.batches)), is_counted=True)

    def _on_known(self, chunk: Chunk, digests: frozenset[bytes], ours: Commit | None) -> None:
        """Confirm batches that the store has. ours: the commit, if our earlier call added it.

        ours None: somebody else added these batches, so their entries count as repeated.
        """
        if ours is not None:
            self._count_commit(chunk, ours)
        gone = chunk.remove(digests)
        if ours is None:
            self._probe.count(MeterEvent.BATCH_REPEATED, len(gone))
            for batch in gone:
                tally = Tally(self._reader)
                tally.add(batch.lines)
                for process, number in tally.numbers().items():
                    self._repeated[process] = self._repeated.get(process, 0) + number
        self._confirm(gone, is_counted=True)

    def _count_commit(self, chunk: Chunk, commit: Commit) -> None:
        self._probe.count(MeterEvent.BATCH_COUNTED, len(chunk.batches))
        self._probe.count(MeterEvent.ENTRY_COUNTED, commit.entries - commit.misdated)
        self._probe.refused(Cause.CLOCK, commit.misdated)
        self._probe.count(MeterEvent.USE_ESTIMATED, commit.estimated)
        self._probe.count(MeterEvent.USE_IMPLAUSIBLE, commit.implausible)

    def _drop_old(self, chunk: Chunk) -> None:
        now = self._store.now_ms() or 0
        found = {
            batch.digest for batch in chunk.batches.values() if now - batch.arrived_ms > LATE_MS
        }
        # The store's clock decides. If ours is a little behind, the oldest batch is the one.
        found = found or {min(chunk.batches.values(), key=_arrival).digest}
        gone = chunk.remove(frozenset(found))
        self._probe.count(MeterEvent.BATCH_TOO_OLD, len(gone))
        self._confirm(gone, is_counted=False)

    def _confirm(self, batches: list[Batch], *, is_counted: bool) -> None:
        for batch in batches:
            del self._waiting[batch.digest]
            self.waiting_bytes -= batch.size
            batch.confirm(is_counted=is_counted)
        if not self._waiting:
            self._idle.set()


def _arrival(batch: Batch) -> int:
    return batch.arrived_ms
