"""Canary keys: never allowed, answered as an unknown key, and each use is an event."""

import asyncio
import json

from authz.core.audit import Action
from authz.core.new_keys import KeySpec
from authz.core.notifications.catalogue import TYPES
from authz.core.records import Status
from authz.core.roles import Role
from authz.storage import schema
from authz.storage.sightings import StoredSightings
from authz.wiring import administration
from authz.wiring.notifications import event_session
from tests.rpc.admin.kills import AdminServing
from tests.support.rpc.answers import arm
from tests.support.rpc.messages import check_request
from tests.support.rpc.servers import ask
from tests.support.serving import PATIENCE, Serving
from tests.support.storage import stored

ADDRESS = "198.51.100.7"


async def answer_to(sidecar, text):
    """Return status, headers and body of the refusal of this key, without its own ids."""
    headers = [("x-api-key", text), ("x-request-id", "the-same")]
    refusal = arm(await ask(sidecar.check, check_request(headers, peer=ADDRESS)))
    named = sorted((one.header.key, one.header.value) for one in refusal.headers)
    return refusal.status.code, named, refusal.body


async def used(settings, action=Action.CANARY, least=1):
    """Wait for so many events of uses. Return their kids and details, the newest first."""
    name = TYPES[action].name
    async with event_session(settings) as session, asyncio.timeout(PATIENCE):
        while True:
            found = await session.derivation.newest(10, lambda one: one.type == name)
            if len(found) >= least:
                return [(one.kid, one.data["details"]) for one in found]
            await asyncio.sleep(0.05)


async def test_the_use_of_a_canary_key(valkey, tmp_path):
    """The caller reads the same as for an unknown key. One event names key, network and time."""
    serving = AdminServing(tmp_path, valkey.url)
    await serving.issue(Role.ADMIN)
    sidecar = Serving(tmp_path, valkey, {"cache": {"trust_lease": "4s"}})
    async with administration.administration(serving.settings) as lifecycle:

        async def issue(**more):
            spec = KeySpec(client_id="decoy", env="live", life_ms=None, **more)
            return await lifecycle.issue(spec, lifecycle.author("tests"))

        canary, unknown = await issue(is_canary=True), await issue()
        assert canary.record.status is Status.CANARY
    valkey.admin.delete(stored.key(unknown.record.kid))
    await asyncio.to_thread(serving.start)
    try:
        with sidecar:
            await asyncio.to_thread(sidecar.wait_until_ready)
            expected = await answer_to(sidecar, unknown.key_text)
            assert expected[0] == 401
            for _ in range(2):
                assert await answer_to(sidecar, canary.key_text) == expected
            ((kid, details),) = await used(serving.settings)
        assert (kid, details["network"]) == (canary.record.kid, "198.51.100.0/24")
        assert details["uses"] in {1, 2}  # both may have come before the first heartbeat
        assert not valkey.admin.xlen(schema.DEFAULT.seen)
    finally:
        serving.close()
    assert canary.key_text not in sidecar.log.read_text() + serving.log.read_text()


async def test_an_entry_makes_one_row(valkey):
    """An entry that another process has moved makes no second row, and garbage makes none."""
    async with valkey.endpoint.client() as client:
        store = StoredSightings(client)
        await client.xadd(schema.DEFAULT.seen, {"action": "canary", "kid": "<b>"})
        await client.xadd(
            schema.DEFAULT.seen,
            {"action": "canary", "kid": "A" * 16, "network": "", "at": "5", "uses": "2"},
        )
        (bad, none), (good, one) = await store.waiting(10)
        assert none is None
        await store.settle(bad, None)
        for _ in range(2):
            await store.settle(good, one.event("tests", 7))
        assert await store.waiting(10) == []
        ((_, row),) = await client.xrange(schema.DEFAULT.audit)
        assert json.loads(row["detail"])["uses"] == 2
