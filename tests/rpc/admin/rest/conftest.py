"""Clients of the REST form."""

import pytest_asyncio

from authz.core.roles import Role
from tests.support.rpc.admin import AdminRig
from tests.support.rpc.rest import RestClient


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(rig: AdminRig) -> RestClient:
    """A client that may do everything."""
    _, text = await rig.issue([Role.ADMIN.scope])
    return RestClient(rig.process.http, text)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nobody(rig: AdminRig) -> RestClient:
    """A client without a credential."""
    return RestClient(rig.process.http)
