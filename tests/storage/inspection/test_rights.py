"""The checks of the rights of our user, and that these rights are enough."""

import pytest

from authz.core.errors import Unavailable
from authz.core.finding import Level
from tests.support.fakes import KID
from tests.support.real import Valkey, eventually
from tests.support.storage import stored
from tests.support.storage.changing import moved
from tests.support.storage.inspection import report
from tests.support.storage.sidecar import Registered
from tests.support.storage.stored import BEATING, CHANGING, COUNTING, INDEXING, REGISTERING, SERVING

EVERYTHING = ["~authz:*", "&authz:*", "+@all"]
SERVED = {words[0] for words in SERVING}  # without one of them a sidecar does not serve at all


def user(valkey: Valkey, *rules: str):
    """Create a user with these rules and return its endpoint."""
    valkey.admin.execute_command("ACL", "SETUSER", "app", "reset", "on", ">pw", *rules)
    return valkey.login("app", "pw")


@pytest.mark.parametrize("command", sorted(SERVED - {"HELLO", "PING"}))
async def test_a_command_that_a_sidecar_needs(valkey, admin, command):
    """A missing command that serving needs fails."""
    found = await report(user(valkey, *EVERYTHING, f"-{command}"))
    assert found["serving"].level is Level.FAIL or command == "HGETALL"
    if command == "HGETALL":  # nothing can be looked at without it
        assert found["identity"].level is Level.FAIL
    else:
        assert f"may not {command}" in found["serving"].found


async def test_the_heartbeat_behind_sentinel_writes(valkey, admin):
    """A missing right to write heartbeats fails behind Sentinel, and only there."""
    reader = user(valkey, "%R~authz:*", "&authz:*", "+@all")
    assert (await report(reader))["serving"].level is Level.OK
    serving = (await report(reader, has_replicas=True))["serving"]
    assert (serving.level, serving.found) == (
        Level.FAIL,
        f"user app may not SET {stored.HEARTBEAT}",
    )
    writer = user(valkey, "%R~authz:*", f"~{stored.HEARTBEAT}", "&authz:*", "+@all")
    assert (await report(writer, has_replicas=True))["serving"].level is Level.OK


@pytest.mark.parametrize("command", sorted({words[0] for words in COUNTING} - SERVED))
async def test_a_command_that_counting_needs(valkey, admin, command):
    """A missing command that limits need is a warning."""
    found = await report(user(valkey, *EVERYTHING, f"-{command}", "-evalsha"))
    assert found["counting"].level is Level.WARN
    assert f"may not {command}" in found["counting"].found
    assert found["serving"].level is Level.OK


@pytest.mark.parametrize(
    ("check", "command"),
    [
        (check, words)
        for check, commands in (("counting", COUNTING), ("registering", REGISTERING))
        for words in commands
        if words[0] in SERVED and len(words) > 1
    ],
)
async def test_a_name_that_only_limits_or_the_registry_need(valkey, admin, check, command):
    """A command that serving needs too is looked at for each name: a missing one is a warning."""
    others = {words[1] for words in (*SERVING, *COUNTING, *REGISTERING) if len(words) > 1}
    others |= {words[3] for words in (*COUNTING, *REGISTERING) if words[0] == "FCALL"}
    names = sorted(f"~{name}" for name in others - {command[1]})
    found = await report(user(valkey, *names, "&authz:*", "+@all"))
    assert found[check].level is Level.WARN
    assert f"may not {command[0]} {command[1]}" in found[check].found
    assert found["serving"].level is Level.OK


async def test_without_functions(valkey, admin):
    """A user of an earlier version may load scripts instead, and a warning tells of it."""
    found = await report(user(valkey, *EVERYTHING, "-fcall"))
    assert found["counting"].level is found["registering"].level is Level.OK
    assert found["functions"].level is Level.WARN
    assert "sidecars load scripts" in found["functions"].found


@pytest.mark.parametrize("command", sorted({words[0] for words in REGISTERING} - SERVED))
async def test_a_command_that_registering_needs(valkey, admin, command):
    """A missing command that the registry needs is a warning."""
    found = await report(user(valkey, *EVERYTHING, f"-{command}", "-evalsha"))
    assert found["registering"].level is Level.WARN
    assert f"may not {command}" in found["registering"].found
    assert found["serving"].level is Level.OK


@pytest.mark.parametrize("command", sorted({words[0] for words in CHANGING} - SERVED))
async def test_a_command_that_a_change_needs(valkey, admin, command):
    """A missing command that changes need is a warning, because a sidecar does not change keys."""
    found = await report(user(valkey, *EVERYTHING, f"-{command}"))
    assert found["changing"].level is Level.WARN
    assert f"may not {command}" in found["changing"].found
    assert found["serving"].level is Level.OK


async def test_keys_and_channels(valkey, admin):
    """Missing rights to keys or channels are found too."""
    found = await report(user(valkey, "+@all", "~authz:*", "resetchannels"))
    assert "SUBSCRIBE" in found["serving"].found
    found = await report(user(valkey, "+@all", "&*", "%R~authz:*", "~authz:{0}:limit:*"))
    assert (found["serving"].level, found["changing"].level) == (Level.OK, Level.WARN)


async def test_a_store_that_says_little(valkey, admin):
    """A check that the store does not answer is a warning, not a failure."""
    rules = [
        "+client",
        "+ping",
        "+hello",
        "+hgetall",
        "+time",
        "+zcard",
        "+zrandmember",
        "+acl|whoami",
    ]
    found = await report(user(valkey, "~authz:*", "&*", "-@all", *rules))
    unknown = {"functions", "version", "access", "eviction", "memory", "persistence", "replication"}
    unknown |= {"serving", "counting", "registering", "indexing", "changing", "sidecars"}
    unknown |= {"changes", "types"}
    warned = {"seals", *unknown}  # this store is of before seals
    assert {check for check, f in found.items() if f.level is not Level.OK} == warned
    assert {found[check].level for check in unknown} == {Level.WARN}


async def test_what_is_asked_for_is_enough(valkey, admin):
    """A user with exactly the checked commands can make every change."""
    nested = {"SCRIPT", "XINFO"}
    words = [words[:2] if words[0] in nested else words[:1] for words in (*SERVING, *CHANGING)]
    rules = ["+client", *(f"+{'|'.join(command)}" for command in words)]
    client = user(valkey, "~authz:*", "&authz:*", "-@all", *rules).client()
    record = await admin.issue()
    store = type(admin.store)(client)
    try:
        await store.apply(moved(record))
    except Unavailable as cause:
        pytest.fail(str(cause))
    finally:
        await client.aclose()
    assert valkey.admin.acl_log() == []


async def test_what_a_sidecar_is_asked_for_is_enough(valkey, admin):
    """A user with exactly the checked commands can do all that a sidecar does."""
    record = await admin.issue()
    words = {words[0] for words in (*SERVING, *COUNTING, *BEATING, *REGISTERING, *INDEXING)}
    rules = ["+client", *(f"+{command}" for command in sorted(words))]
    endpoint = user(valkey, "~authz:*", "&authz:*", "-@all", *rules)
    async with Registered(endpoint) as sidecar:
        await sidecar.trusted()
        assert await sidecar.find(record.kid) == record
        assert await sidecar.find(KID) is None
        assert await sidecar.alias([b"n" * 32]) is None
        link = sidecar.feed.link
        assert await link.call("SET", stored.HEARTBEAT, "1") == "OK"
        await eventually(lambda: sidecar.registration._acknowledged == record.version)
        await sidecar.registration.leave()
    assert valkey.admin.acl_log() == []
