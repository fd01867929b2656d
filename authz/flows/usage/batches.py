"""Batches of usage that wait for the store, and chunks: batches that are committed in one step."""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from authz.core.usage.entry import EntryReader
from authz.core.usage.tally import Tally

Confirmed = asyncio.Future[bool]
"""True once the batch is in the store; False if it was dropped because it is too old."""

LINE_BYTES: Final = 64  # of memory for each entry beside its text
RETRY_SECONDS: Final = 1.0  # after which a sender may come again


@dataclass(frozen=True, slots=True)
class Deferred:
    """The batch was not taken. The sender may come again after `seconds`."""

    reason: str
    seconds: float = RETRY_SECONDS


def digest_of(raw: bytes) -> bytes:
    """Return the digest that names a batch. raw: its message."""
    return hashlib.blake2b(raw, digest_size=16).digest()


@dataclass(slots=True, eq=False)
class Batch:
    """A batch that waits. digest: its name. lines: its entries. size: bytes it takes in memory.

    arrived_ms: ms since the epoch by the store's clock. senders: a future for each waiting sender.
    """

    digest: bytes
    lines: Sequence[bytes]
    size: int
    arrived_ms: int
    senders: list[Confirmed] = field(default_factory=list)

    def confirm(self, *, is_counted: bool) -> None:
        """Give `is_counted` to all senders that still wait."""
        for sender in self.senders:
            if not sender.done():
                sender.set_result(is_counted)


class Chunk:
    """Batches that are committed in one step, with their sums."""

    def __init__(self, reader: EntryReader) -> None:
        self._reader = reader
        self.batches: dict[bytes, Batch] = {}
        self.tally = Tally(reader)

    def add(self, batch: Batch) -> None:
        """Add a batch."""
        self.batches[batch.digest] = batch
        self.tally.add(batch.lines)

    def remove(self, digests: frozenset[bytes]) -> list[Batch]:
        """Take batches out, add up the others again, and return the removed ones.

        Digests of other batches are ignored.
        """
        gone = [self.batches.pop(digest) for digest in digests if digest in self.batches]
        self.tally = Tally(self._reader)
        for batch in self.batches.values():
            self.tally.add(batch.lines)
        return gone
