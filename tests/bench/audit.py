"""A long honest audit trail of two writers over a failover: no finding, and the rates of its work.

    python -m tests.bench.audit [--rows N]

Two writers issue and change keys by the real scripts, on a primary with two replicas. It is killed
when half of the rows are there, while both writers write. Then a replica is promoted, and they go
on. Every BETWEEN rows the trail is sealed. In the end it is verified.
"""

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from authz.core import changes
from authz.core.changes import KeyChange
from authz.core.errors import Conflict, Fault, Unavailable
from authz.core.records import KeyRecord
from authz.core.trail.report import Report
from authz.core.trail.verification import Verification
from authz.flows.trail.sealing import Sealer
from authz.flows.trail.verifying import verify
from authz.process.clock import SystemClock
from authz.storage.batches import StoredBatches
from authz.storage.trail import StoredRows
from tests.bench.figures import machine
from tests.support.changes import author, issued
from tests.support.failover import Replicated
from tests.support.fakes import NOW, make_keyring

KEYS: Final = make_keyring().trail_keys
ROWS: Final = 100_000
BETWEEN: Final = 4_000  # rows between two checkpoints
BATCH: Final = 200
PATIENCE: Final = 120.0  # seconds for one batch, over a failover


@dataclass(slots=True)
class Writer:
    """Issues keys and disables them. written: rows that the store has confirmed."""

    number: int
    batches: StoredBatches
    written: int = 0

    async def write(self) -> None:
        """Write a batch of new keys, then change each of them."""
        first = [issued(f"{self.number}{self.written + at:015}") for at in range(BATCH // 2)]
        versions = await self._apply(first)
        made = [
            replace(one.record, version=version)
            for one, version in zip(first, versions, strict=True)
            if version is not None
        ]
        await self._apply([_disabled(record) for record in made])

    async def _apply(self, wanted: Sequence[KeyChange]) -> list[int | None]:
        """Return the version of each change; None if the failover has lost its base.

        A change without a reply is sent again, as every command does.
        """
        versions: dict[int, int | None] = {}
        deadline = time.monotonic() + PATIENCE
        while left := [at for at in range(len(wanted)) if at not in versions]:
            assert time.monotonic() < deadline, "the store did not come back"
            try:
                found = await self.batches.apply_all([wanted[at] for at in left])
            except Unavailable as fault:
                found = [fault] * len(left)
            for at, outcome in zip(left, found, strict=True):
                if isinstance(outcome, Conflict):
                    versions[at] = None
                elif not isinstance(outcome, Fault):
                    versions[at] = outcome
                    self.written += 1
            if len(versions) < len(wanted):
                await asyncio.sleep(0.05)
        return [versions[at] for at in range(len(wanted))]


@dataclass(slots=True)
class Sealing:
    """Seals the trail, and measures it. seconds: the time that it took."""

    sealer: Sealer
    seconds: float = 0.0
    checkpoints: int = 0
    went_back: list[str] = field(default_factory=list)

    async def seal(self) -> None:
        """Seal all rows; again while the store cannot be used."""
        while True:
            began = time.perf_counter()
            try:
                found = await self.sealer.seal()
            except Unavailable:
                await asyncio.sleep(0.1)
                continue
            self.seconds += time.perf_counter() - began
            if found is not None:
                self.checkpoints += 1
                self.went_back += [found.went_back] if found.went_back else []
            return


def _disabled(record: KeyRecord) -> KeyChange:
    planned = changes.disable(record, author(), NOW)
    assert isinstance(planned, KeyChange)
    return planned


async def run(rows: int) -> tuple[Report, Sealing, float]:
    """Write, fail over, seal and verify. Return the report, the sealing, and verified rows/s."""
    async with Replicated() as world:
        endpoint = replace(world.endpoint, marks=lambda: KEYS)
        async with endpoint.client() as one, endpoint.client() as two, endpoint.client() as three:
            writers = [Writer(at, StoredBatches(client)) for at, client in enumerate((one, two))]
            store = StoredRows(three, has_replicas=True)
            sealing = Sealing(Sealer(store, KEYS, SystemClock(), "bench"))
            sealed, killed = 0, False
            while (written := sum(writer.written for writer in writers)) < rows:
                work = asyncio.gather(*(writer.write() for writer in writers))
                if not killed and written >= rows / 2:
                    await asyncio.sleep(0.01)  # the batches are on their way
                    world.primary.kill()
                    killed = True
                await work
                if written - sealed >= BETWEEN:
                    sealed = written
                    await sealing.seal()
            await sealing.seal()
            began = time.perf_counter()
            report = await verify(
                store, store, KEYS, lambda found: Verification(KEYS, removed=found)
            )
            took = time.perf_counter() - began
    return report, sealing, report.rows / took


def main() -> None:
    """Measure, print, and fail if the honest trail has a finding or rows are missing."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=ROWS)
    given = parser.parse_args()
    report, sealing, verified = asyncio.run(run(given.rows))
    print(f"{report.rows} rows, {report.checkpoints} checkpoints, {len(report.findings)} findings")
    print(f"{report.rows / sealing.seconds:,.0f} sealed/s, {verified:,.0f} verified/s")
    print(machine())
    problems = [*map(str, report.findings), *sealing.went_back]
    print("\n".join(problems) or "intact")
    raise SystemExit(bool(problems))


if __name__ == "__main__":
    main()
