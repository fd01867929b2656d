"""Unused keys, on counts in memory."""

import pytest

from authz.core.errors import BadInput
from authz.core.selector import Position
from authz.core.usage.question import DAY_MS
from authz.core.usage.tally import Clocks
from authz.flows.usage.last_use import LastUse
from tests.support.fakes import FakeClock
from tests.support.memory_usage import MemoryUsage, MemoryUsageIndex
from tests.support.usage import KID, NOW, committed, line

IDLE, NEW = "Q" * 16, "N" * 16
SINCE = NOW // DAY_MS * DAY_MS - 2 * DAY_MS
PLACES = [Position(SINCE - 1, KID), Position(SINCE - 1, IDLE), Position(SINCE, NEW)]


async def test_keys_that_were_neither_used_nor_created_since():
    """A server asks again whether usage is still counted: else keys in use would look unused."""
    clock = FakeClock(NOW)
    memory = MemoryUsage(clock)
    last_use = LastUse(MemoryUsageIndex(memory), memory, clock, "filter")
    with pytest.raises(BadInput, match="authz meter"):
        await last_use.unused(PLACES, SINCE)
    entries = [line(), line(kid=IDLE, started=SINCE - 1000)]
    near = Clocks.near(NOW, 5 * DAY_MS, DAY_MS)
    await memory.commit(committed(*entries, clocks=near), [b"one"], NOW)
    assert await last_use.unused(PLACES, SINCE) == {IDLE}
    with pytest.raises(BadInput, match="not yet counted") as caught:
        await last_use.unused(PLACES, SINCE - 100 * DAY_MS)
    assert caught.value.field == "filter"
    assert await last_use.unused(PLACES, SINCE) == {IDLE}
    clock.advance(3 * 86_400)
    with pytest.raises(BadInput, match="authz meter"):
        await last_use.unused(PLACES, SINCE)
