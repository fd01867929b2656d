"""Seal and verify a long audit trail of two writers: `python -m tests.bench.audit [ROWS]`.

It prints the rates, and fails if an honest trail has a finding.
"""

import asyncio
import sys
import time

from authz.core.trail.verification import Verification
from authz.flows.trail.sealing import Sealer
from authz.flows.trail.verifying import verify
from authz.process.clock import SystemClock
from authz.storage.trail import StoredRows
from tests.support.real import Valkey
from tests.support.storage import stored
from tests.support.trail.memory_rows import KEYS, MemoryRows, Writer

ROWS = 100_000
BETWEEN = 2_000  # rows between two checkpoints


async def run(valkey: Valkey, rows: int) -> tuple[float, float]:
    """Return rows sealed and rows verified per second."""
    versions: dict[str, int] = {}
    sealing = 0.0
    async with valkey.endpoint.client() as client:
        store = StoredRows(client)
        sealer = Sealer(store, KEYS, SystemClock(), "bench")
        batch = MemoryRows()
        writers = [Writer(batch, seed=seed) for seed in (1, 2)]
        for writer in writers:
            writer.versions = versions
        written = 0
        while written < rows:
            batch.rows.clear()
            for turn in range(min(BETWEEN, rows - written)):
                writers[turn % 2].history(1, keys=1000)
            pipeline = client.pipeline(transaction=False)
            for row in batch.rows:
                pipeline.xadd(stored.AUDIT, dict(row.fields), id=row.id)
            pipeline.set(stored.SEQ, batch.seq)
            await pipeline.execute()
            written += len(batch.rows)
            began = time.perf_counter()
            await sealer.seal()
            sealing += time.perf_counter() - began
        began = time.perf_counter()
        report = await verify(store, store, KEYS, lambda found: Verification(KEYS, removed=found))
        verifying = time.perf_counter() - began
    assert report.is_intact, report.findings
    return rows / sealing, report.rows / verifying


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with Valkey() as server:
        sealed, verified = asyncio.run(run(server, count))
    sys.stdout.write(f"{count} rows: {sealed:,.0f} sealed/s, {verified:,.0f} verified/s\n")
