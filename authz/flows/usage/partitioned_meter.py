"""PartitionedMeter: divides each batch among the meters of the partitions.

Rules:
1. The meter of a partition commits its part of a batch under the digest of the whole batch. The
   same batch has the same parts, so each part counts exactly once, whoever sends it again.
2. A batch is confirmed only after each of its parts is in the store.
3. A batch is taken with all of its parts or with none.
4. A batch that is sent again while a part of it waits is one batch with two senders. Parts that are
   in the store are not committed again.
5. Waiting parts are bounded in bytes, over all partitions.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from authz.core.partitions import Partitions
from authz.core.usage.events import MeterEvent
from authz.core.usage.parts import Parts
from authz.core.usage.ports import MeterProbe
from authz.flows.usage.batches import LINE_BYTES, Confirmed, Deferred, digest_of
from authz.flows.usage.meter import MAX_BYTES, Meter


@dataclass(slots=True, eq=False)
class _Waiting:
    """A batch of which `parts` parts wait. is_counted: False once one of them was dropped."""

    parts: int
    is_counted: bool = True
    senders: list[Confirmed] = field(default_factory=list)


class PartitionedMeter:
    """Takes batches with `take`; `run` commits them.

    meters: of the partitions, in their order. max_bytes: of parts that wait for the store.
    """

    def __init__(
        self, meters: Sequence[Meter], probe: MeterProbe, *, max_bytes: int = MAX_BYTES
    ) -> None:
        self._meters = meters
        self._probe = probe
        self._parts = Parts(Partitions(len(meters)))
        self._max_bytes = max_bytes
        self._waiting: dict[bytes, _Waiting] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self.leaving = ""
        """Why no more batches are taken; empty while they are."""

    @property
    def waiting(self) -> int:
        """How many batches are not confirmed."""
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """How many bytes the parts take that wait."""
        return sum(meter.waiting_bytes for meter in self._meters)

    @property
    def lag(self) -> float:
        """Seconds since the oldest part came that is not in the store; 0 if there is none."""
        return max(meter.lag for meter in self._meters)

    def take(self, raw: bytes, lines: Sequence[bytes]) -> Confirmed | Deferred:
        """Take a batch. Return a future that becomes True when all of it is in the store.

        A batch without entries is confirmed at once. Otherwise as `Meter.take`.
        """
        sender: Confirmed = asyncio.get_running_loop().create_future()
        if not lines:
            sender.set_result(True)
            return sender
        digest = digest_of(raw)
        batch = self._waiting.get(digest)
        if batch is None:
            parts = self._parts.of(lines)
            sizes = {at: sum(map(len, part)) + LINE_BYTES * len(part) for at, part in parts.items()}
            if deferred := self._refusal(sizes):
                self._probe.count(MeterEvent.BATCH_DEFERRED)
                return deferred
            batch = self._waiting[digest] = _Waiting(len(parts))
            self._idle.clear()
            for at, part in parts.items():
                taken = self._meters[at].add(digest, part, sizes[at])
                taken.add_done_callback(partial(self._on_part, digest, batch))
        batch.senders.append(sender)
        return sender

    async def run(self) -> None:
        """Commit batches until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for meter in self._meters:
                tasks.create_task(meter.run())

    async def drain(self, seconds: float) -> bool:
        """Take no more batches, and wait at most `seconds` until none waits for the store.

        Return False if some still wait. `run` must go on meanwhile.
        """
        self.leaving = self.leaving or "the meter is stopping"
        drained = await asyncio.gather(*(meter.drain(seconds) for meter in self._meters))
        if not all(drained):
            return False
        await self._idle.wait()  # their answers are on the way
        return True

    def _refusal(self, sizes: dict[int, int]) -> Deferred | None:
        if self.leaving:
            return Deferred(self.leaving)
        for at, size in sizes.items():
            if refusal := self._meters[at].refusal(size):
                return refusal
        if self._waiting and self.waiting_bytes + sum(sizes.values()) > self._max_bytes:
            return Deferred("too many batches wait for the store")
        return None

    def _on_part(self, digest: bytes, batch: _Waiting, part: Confirmed) -> None:
        batch.parts -= 1
        batch.is_counted = batch.is_counted and part.result()
        if batch.parts:
            return
        del self._waiting[digest]
        for sender in batch.senders:
            if not sender.done():
                sender.set_result(batch.is_counted)
        if not self._waiting:
            self._idle.set()
