"""Two installations on one server: by namespace, or by database, neither disturbs the other."""

import asyncio
from dataclasses import replace

import pytest

from authz.core.errors import Unavailable
from authz.core.events import Event
from authz.core.finding import Level
from authz.core.records import Status
from authz.storage import schema
from authz.storage.endpoint import Endpoint
from authz.storage.inspection.checks import inspect
from authz.storage.inspection.store import Store
from authz.storage.keys import StoredKeys
from authz.storage.registry import StoredSidecars
from authz.storage.schema import Names
from tests.support.fakes import make_keyring
from tests.support.real import RealClock, eventually
from tests.support.storage.sidecar import Registered, administration


@pytest.fixture(params=["namespace", "database"])
def neighbours(request, valkey):
    """The endpoints of two installations on one server."""
    if request.param == "namespace":
        return valkey.endpoint, replace(valkey.endpoint, namespace="staging")
    return valkey.endpoint, Endpoint.parse(valkey.url.replace("/0", "/3"))


async def test_neighbours(neighbours):
    """Keys, changes and sidecars of one installation do not exist for the other."""
    one, other = neighbours
    async with (
        administration(one) as admin,
        administration(other) as other_admin,
        Registered(one, "web-1") as sidecar,
        Registered(other, "web-2") as other_sidecar,
        one.client() as client,
    ):
        await asyncio.gather(sidecar.trusted(), other_sidecar.trusted())
        record = await admin.issue()
        assert await sidecar.find(record.kid) == record
        assert await other_sidecar.find(record.kid) is None

        for _ in range(3):
            theirs = await other_admin.issue()
            await other_admin.revoke(theirs.kid)
        await other_sidecar.caught_up(6)
        assert (await other_sidecar.find(theirs.kid)).status is Status.REVOKED

        assert sidecar.feed.seq == 1
        assert sidecar.feed.health().flush is None
        assert sidecar.probe.events[Event.CHANGE_GAP] == 0
        assert sidecar.probe.events[Event.CHANGE_APPLIED] == 1
        assert sidecar.cache.peek(record.kid) == record

        async def registered():
            return [heard.sidecar.instance for heard in (await StoredSidecars(client).find())[1]]

        await eventually(registered)
        assert await registered() == ["web-1"]


def test_every_name_has_the_namespace():
    """Each name and the channel begin with the namespace."""
    names = Names("staging", 3)
    found = [value for value in vars(names).values() if isinstance(value, str)]
    found += [
        names.key("k"), names.limit("k"), names.alias(b"d"), names.client("c"), names.sidecar("s"),
    ]  # fmt: skip
    assert {name.partition(":")[0] for name in found} == {"staging"}
    assert names.changes == "staging:authz:{0}:changes:3"
    assert (schema.DEFAULT.meta, schema.DEFAULT.changes) == ("authz:meta", "authz:{0}:changes")


@pytest.mark.parametrize(("theirs", "ours"), [("", "staging"), ("staging", ""), ("a", "b")])
async def test_the_doctor_names_another_namespace(valkey, theirs, ours):
    """A store of another namespace fails, and the finding names that namespace."""
    async with administration(replace(valkey.endpoint, namespace=theirs)):
        pass
    async with replace(valkey.endpoint, namespace=ours).client() as client:
        store = Store(client, make_keyring().fingerprints, 1.0, RealClock().wall_ms)
        [identity] = [found async for found in inspect(store) if found.check == "identity"]
        assert identity.level is Level.FAIL
        assert f"but of {theirs!r}" in identity.found.replace("(none)", "''")
        assert identity.advice == "correct redis.namespace"
        with pytest.raises(Unavailable):
            await StoredKeys(client).verify(make_keyring().fingerprints)
