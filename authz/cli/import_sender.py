"""Sender: writes the batches of an import into the store while the next one is read."""

import asyncio
from dataclasses import dataclass
from typing import Final

from authz.cli.import_report import Report
from authz.flows.command_ports import KeyImporter, ReadyBatch
from authz.flows.importing import Wanted

TURNS: Final = 10  # of the event loop, after which a batch is written to the connection


@dataclass(slots=True)
class Sender:
    """Sends batches to the store.

    overlaps: return while the store works on a batch, so that the next one is read meanwhile. False
    for a pipe: its next line may come much later.
    """

    runner: asyncio.Runner
    importer: KeyImporter
    report: Report
    overlaps: bool
    _pending: asyncio.Task[None] | None = None

    def send(self, batch: list[tuple[int, Wanted]]) -> None:
        """Wait for the batch before, then send this one; without `overlaps` wait for it, too.

        The batch is made ready while the store works on the one before. Raises the errors of
        `finish`, also those of the batch before.
        """
        ready = self.importer.ready([entry for _, entry in batch])
        self.finish()
        self.runner.run(self._begin(batch, ready))
        if not self.overlaps:
            self.finish()

    def finish(self) -> None:
        """Wait for the batch that was sent last, and count its outcomes.

        An interrupted batch is completed first, so that the counts are right; then
        KeyboardInterrupt is raised. Raises Fault if the store or the rejects file fails.
        """
        if self._pending is None:
            return
        try:
            self.runner.run(_completed(self._pending))
        finally:
            if self._pending.done():
                self._pending = None

    async def _begin(self, batch: list[tuple[int, Wanted]], ready: ReadyBatch) -> None:
        self._pending = asyncio.create_task(self._put(batch, ready))
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def _put(self, batch: list[tuple[int, Wanted]], ready: ReadyBatch) -> None:
        self.report.add(batch, await (ready.rehearse() if self.report.dry_run else ready.put()))


async def _completed(task: asyncio.Task[None]) -> None:
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
