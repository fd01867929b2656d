"""The uses of secrets, read from a real store."""

from authz.core.usage.completeness import Completeness
from authz.wiring.store_parts import StoreParts
from authz.wiring.usage_readers import RecordedUses


async def test_nothing_was_recorded(valkey):
    """Without usage there are no facts, and no request has a record."""
    async with valkey.endpoint.client() as client:
        uses = RecordedUses(StoreParts.of_one(client))
        assert await uses.completeness() == Completeness()
        assert (await uses.facts("A" * 16)).secrets == {}
        assert await uses.misdated() == 0
