"""The pages over a running admin API."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.console.serving import Site, console_site
from tests.support.real import Valkey
from tests.support.rpc.admin import admin_rig, admin_settings


@pytest_asyncio.fixture
async def site(valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """The console for an administrator, with an empty store."""
    directory = tmp_path_factory.mktemp("console")
    async with admin_rig(admin_settings(valkey, directory)) as rig, console_site(rig) as running:
        yield running
