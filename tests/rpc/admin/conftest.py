"""A running admin API, and a caller that may do everything."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from authz.core.roles import Role
from tests.support.real import Valkey
from tests.support.rpc.admin import AdminRig, Stubs, admin_rig, admin_settings


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(
    shared_valkey: Valkey, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[AdminRig]:
    """A running admin API. Its store is empty for the first test of a module."""
    shared_valkey.reset()
    settings = admin_settings(
        shared_valkey,
        tmp_path_factory.mktemp("admin"),
        self_service=["read", "rotate", "revoke"],
        calls_per_second=100_000,
    )
    async with admin_rig(settings) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def admin(rig: AdminRig) -> Stubs:
    """The stubs of an administrator of the whole installation."""
    return await rig.caller(Role.ADMIN)
