"""The numbers of charge ids in the registry, on a real store."""

import json

import pytest

from authz.core.errors import Unavailable
from authz.core.sidecars import Issued
from authz.storage import registry
from authz.storage.issued import StoredIssued
from authz.storage.schema import DEFAULT
from tests.support.real import eventually
from tests.support.storage.sidecar import Registered

ONE, TWO = "1" * 16, "2" * 16


@pytest.fixture
async def reader(valkey):
    """A StoredIssued on the shared server."""
    client = valkey.endpoint.client()
    yield StoredIssued(client)
    await client.aclose()


async def test_a_running_process_is_counted_with_each_heartbeat(valkey, admin, reader):
    """The entry follows the count while the process runs; its number is not final."""
    async with Registered(valkey.endpoint, "web-1", charges=ONE) as sidecar:
        await sidecar.trusted()
        for count in (7, 9):
            sidecar.issued = count

            async def is_told(count=count):
                return await reader.find() == [Issued(ONE, "web-1", count, ended=False)]

            await eventually(is_told)


async def test_the_number_of_an_ended_process_is_final(valkey, admin, reader):
    """The final number replaces that of the last heartbeat, also while the entry exists."""
    async with Registered(valkey.endpoint, "web-1", charges=ONE) as sidecar:
        await sidecar.trusted()
        await eventually(lambda: valkey.admin.exists(DEFAULT.sidecar("web-1")))
        sidecar.issued = 12
        await sidecar.registration.report_issued()
        assert await reader.find() == [Issued(ONE, "web-1", 12, ended=True)]
        await sidecar.registration.leave()
        assert await reader.find() == [Issued(ONE, "web-1", 12, ended=True)]


async def test_a_killed_process_keeps_its_last_number(valkey, admin, reader):
    """The number of a killed process is not final, and stands beside that of the next one."""
    async with Registered(valkey.endpoint, "web-1", charges=ONE) as sidecar:
        sidecar.issued = 3
        await sidecar.trusted()
        await eventually(lambda: valkey.admin.exists(DEFAULT.sidecar("web-1")))
    async with Registered(valkey.endpoint, "web-2", charges=TWO) as sidecar:
        await sidecar.trusted()

        async def both():
            return [(one.charges, one.ended) for one in await reader.find()] == [
                (ONE, False),
                (TWO, False),
            ]

        await eventually(both)


async def test_a_sidecar_of_an_older_version_is_left_out(valkey, admin, reader):
    """An old entry has no charge ids; the entry of a newer one is read by an older reader."""
    async with Registered(valkey.endpoint, "web-1") as sidecar:
        await sidecar.trusted()
        await eventually(lambda: valkey.admin.exists(DEFAULT.sidecar("web-1")))
        await sidecar.registration.report_issued()
        entry = json.loads(valkey.admin.get(DEFAULT.sidecar("web-1")))
        del entry["charges"], entry["issued"]
        assert registry._entry(registry._OPTIONAL | entry, registry.KEPT_MS).sidecar.issued == 0
        assert await reader.find() == []


@pytest.mark.parametrize(
    "member",
    ["", "x", "x 1", "x one y", " 1 y", "x -1 y", f"x {10**15} y", "x \u0661 y", "x 1 \x1b"],
)
async def test_an_unreadable_member_is_left_out(valkey, admin, reader, member):
    """A member that no sidecar wrote is ignored, and the others are read."""
    valkey.admin.zadd(DEFAULT.issued, {member: 1, f"{ONE} 5 web-1": 2})
    assert await reader.find() == [Issued(ONE, "web-1", 5, ended=True)]


async def test_old_members_are_removed(valkey, admin):
    """A sidecar that connects removes the numbers of processes that nobody waits for any more."""
    valkey.admin.zadd(DEFAULT.issued, {f"{ONE} 5 web-1": 1})
    async with Registered(valkey.endpoint, charges=TWO) as sidecar:
        await sidecar.trusted()
        await eventually(lambda: not valkey.admin.exists(DEFAULT.issued))


async def test_a_process_without_a_link_reports_nothing(valkey):
    """The end of a sidecar does not wait for a store that it does not reach."""
    await Registered(valkey.endpoint, charges=ONE).registration.report_issued()
    assert not valkey.admin.exists(DEFAULT.issued)


async def test_a_store_that_is_down(own_valkey):
    """The reader raises Unavailable."""
    client = own_valkey.endpoint.client()
    own_valkey.stop()
    with pytest.raises(Unavailable):
        await StoredIssued(client).find()
    await client.aclose()
