"""Fixtures of the storage suites, and the event loops they run on: the product runs on uvloop."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import uvloop

from authz.storage.imports import StoredImports
from tests.support.real import Valkey
from tests.support.storage.sidecar import Admin, administration

ON_BOTH_LOOPS = (
    *("test_link", "test_link_faults", "test_lookups", "test_order", "test_replay"),
    *("test_feed", "test_feed_faults", "test_feed_refusals"),
)


def pytest_asyncio_loop_factories(config, item):
    """Run tests of modules that use sockets directly on both event loops."""
    if item.module.__name__.rpartition(".")[2] in ON_BOTH_LOOPS:
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture
async def admin(valkey: Valkey) -> AsyncIterator[Admin]:
    """Administration of the shared server, initialised."""
    async with administration(valkey.endpoint) as found:
        yield found


@pytest.fixture
async def imports(valkey: Valkey, admin: Admin) -> AsyncIterator[StoredImports]:
    """An ImportStore on the shared server, initialised."""
    async with valkey.endpoint.client() as client:
        yield StoredImports(client)


@pytest.fixture
async def own_admin(own_valkey: Valkey) -> AsyncIterator[Admin]:
    """Administration of the test's own server, initialised."""
    async with administration(own_valkey.endpoint) as found:
        yield found
