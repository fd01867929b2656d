"""Events of a real `authz admin`, whose receiver, store and process fail."""

import asyncio
import json
import signal
import time

import yaml

from authz.core.new_keys import KeySpec
from authz.core.records import RevocationReason
from authz.core.roles import Role
from authz.settings import model
from authz.storage import schema
from authz.wiring import administration
from tests.process.test_notification_receivers import SECRET, server  # noqa: F401  a fixture
from tests.rpc.admin.kills import AdminServing
from tests.support import hasty
from tests.support.real import Valkey

PATIENCE = 60.0  # seconds


async def changes(serving, count):
    """Issue and revoke keys. Return by kid the types of its events, in order."""
    made = {}
    async with administration.administration(serving.settings) as lifecycle:
        for _ in range(count):
            spec = KeySpec(client_id="acme-web", env="live", life_ms=None)
            kid = (await lifecycle.issue(spec, lifecycle.author("tests"))).record.kid
            await lifecycle.disable(kid, lifecycle.author("tests"))
            reason = RevocationReason.SUPERSEDED
            await lifecycle.revoke(kid, reason, lifecycle.author("tests"))
            made[kid] = [f"authz.key.{what}" for what in ("created", "disabled", "revoked")]
    return made


async def short(serving):
    """Issue a key that expires at once. Return the types of its events."""
    async with administration.administration(serving.settings) as lifecycle:
        spec = KeySpec(client_id="acme-web", env="live", life_ms=100)
        kid = (await lifecycle.issue(spec, lifecycle.author("tests"))).record.kid
    return {kid: ["authz.key.created", "authz.key.expired"]}


def delivered(server):  # noqa: F811
    """Return by kid the types of its events, each id at its first arrival."""
    found, seen = {}, {}
    for headers, body in list(server.accepted):
        event = json.loads(body)
        assert headers["webhook-id"] == event["id"]
        known = seen.setdefault(event["id"], event)
        assert (known["type"], known["subject"]) == (event["type"], event["subject"])
        if known is event:
            found.setdefault(event["data"]["kid"], []).append(event["type"])
    return found


async def until(server, wanted):  # noqa: F811
    """Wait until all events have arrived."""
    deadline = time.monotonic() + PATIENCE
    while delivered(server) != wanted and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    assert delivered(server) == wanted


async def test_no_event_is_lost(tmp_path, server):  # noqa: F811
    """Receiver down, store restarted, process killed: each event arrives, in order per key."""
    with Valkey("--appendonly", "yes", "--appendfsync", "always") as valkey:
        serving = AdminServing(tmp_path, valkey.url, program=hasty.PROGRAM)
        (tmp_path / "secret").write_text(SECRET)
        sink = {"kind": "webhook", "url": server.url, "secret_file": "secret", "types": ["authz.*"]}
        text = yaml.safe_load(serving.file.read_text())
        text["events"] = {"allowed_networks": ["127.0.0.0/8"], "sinks": {"siem": sink}}
        serving.file.write_text(yaml.safe_dump(text))
        serving.settings = model.load(serving.file, environ={})
        await serving.issue(Role.ADMIN)
        await asyncio.to_thread(serving.start)
        try:
            while not valkey.admin.exists(schema.DEFAULT.sink("siem")):
                await asyncio.sleep(0.1)
            wanted = await changes(serving, 3) | await short(serving)
            await until(server, wanted)
            server.status = 503
            wanted |= await changes(serving, 3)
            await asyncio.sleep(1.5)
            await asyncio.to_thread(serving.end, signal.SIGKILL)
            wanted |= await changes(serving, 3)
            server.status = 204
            await asyncio.to_thread(serving.start)
            await asyncio.to_thread(valkey.stop)
            await asyncio.sleep(0.5)
            await asyncio.to_thread(valkey.start)
            wanted |= await changes(serving, 3)
            await until(server, wanted)
        finally:
            serving.close()
