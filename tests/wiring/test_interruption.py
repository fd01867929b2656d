"""Ctrl-C while the store is asked for the number of its partitions."""

import asyncio
from contextlib import suppress

import pytest

from authz.core.errors import Unavailable
from authz.settings.model import Settings
from authz.wiring import partition_count
from authz.wiring.partition_count import resolved_if_possible


@pytest.mark.parametrize("has_reply", [True, False])
async def test_a_cancellation_that_the_client_forgets_counts(monkeypatch, has_reply):
    """redis-py takes it for a timeout, or for nothing if a reply came in that moment."""
    asked = asyncio.Event()

    async def resolved(settings: Settings, _patience: float) -> Settings:
        asked.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        if has_reply:
            return settings
        raise Unavailable("Timeout reading from the store")

    monkeypatch.setattr(partition_count, "resolved", resolved)
    task = asyncio.create_task(resolved_if_possible(Settings()))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
