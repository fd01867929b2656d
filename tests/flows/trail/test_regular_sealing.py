"""Sealing every minute: it goes on after failures, and counts what it finds."""

import pytest

from authz.core.errors import Unavailable
from authz.flows.trail.regular_sealing import PAUSE, RegularSealing
from authz.flows.trail.sealing import Sealer
from tests.support.fakes import FakeClock
from tests.support.trail.memory_rows import KEYS, MemoryRows, Writer, altered


class EnoughError(Exception):
    """The test has seen enough rounds."""


async def test_rounds_go_on_after_a_failure():
    """A store that fails or is not ours costs rounds, and ends nothing."""
    store, paused = MemoryRows(), []
    writer, ours = Writer(store), True

    class Failing(MemoryRows):
        async def after(self, row_id, count):
            if len(paused) == 1:
                raise Unavailable("down")
            return await store.after(row_id, count)

        async def before(self, row_id, count):
            return await store.before(row_id, count)

        async def add(self, after, fields):
            return await store.add(after, fields)

    async def sleep(seconds: float) -> None:
        nonlocal ours
        paused.append(seconds)
        if len(paused) == 1:
            writer.history(2)
        if len(paused) == 3:
            ours = False
            writer.history(1)
            store.rows[-1] = altered(store.rows[-1], actor="mallory")
        if len(paused) == 4:
            assert len(store.rows) == 4
            ours = True
        if len(paused) == 5:
            raise EnoughError

    sealing = RegularSealing(Sealer(Failing(), KEYS, FakeClock(), "one"), lambda: ours, sleep=sleep)
    with pytest.raises(EnoughError):
        await sealing.run()
    assert paused == [PAUSE] * 5
    assert sealing.rounds == {"sealed": 2, "idle": 1, "failed": 1}
    assert sealing.findings == {"forged": 1, "went_back": 0}
