"""Whole inspections of a real store."""

from authz.core.finding import Level
from tests.support.storage.inspection import report


async def test_a_store_to_try(valkey, admin):
    """A real Valkey without disk and replica has exactly these four warnings."""
    await admin.issue()
    assert await admin.store.load_functions() == ""
    found = await report(valkey.endpoint)
    assert {check for check, f in found.items() if f.level is not Level.OK} == {
        "access",
        "persistence",
        "replication",
        "seals",  # this store is of before
    }
    assert "1 keys" in found["records"].found
    assert "valkey" in found["version"].found


async def test_a_store_that_is_gone(own_valkey):
    """An unreachable store gives one finding."""
    own_valkey.kill()
    found = await report(own_valkey.endpoint)
    assert found.keys() == {"store"}
    assert found["store"].level is Level.FAIL
