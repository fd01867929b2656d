"""A meter counts in the store of its own installation, and in no other."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from authz.core.errors import Unavailable
from authz.core.usage.counts import Level
from authz.core.usage.ports import Counted
from authz.core.usage.tally import Clocks
from authz.storage import schema
from authz.storage.endpoint import Endpoint
from authz.storage.usage.known_store import FIELDS, KnownStore
from authz.storage.usage.usage_link import UsageLink
from tests.support.real import RealClock, eventually
from tests.support.storage.imitations import imitation, says
from tests.support.usage import committed, line
from tests.support.usage_counting import KEPT, open_link

META = schema.DEFAULT.meta
OURS, NEWER, THEIRS = "a" * 32, "b" * 32, "f" * 32


def set_up(valkey, **peppers):
    """Write authz:meta with these fingerprints, by pepper version without the first letter."""
    texts = {f"pepper:{version[1:]}": text for version, text in peppers.items()}
    valkey.admin.hset(META, mapping={"schema": "1"} | texts)


async def count(link, digest=b"one"):
    """Count one request."""
    now = RealClock().wall_ms()
    commit = committed(line(started=now), clocks=Clocks.near(now, 3_600_000, 60_000))
    return await link.commit(commit, [digest], now)


@asynccontextmanager
async def started(run):
    """Run a link until the block ends."""
    task = asyncio.create_task(run)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def counted(valkey):
    """Return the names of counts in the store."""
    return valkey.admin.keys(f"{schema.DEFAULT.usage}*")


def test_every_version_of_a_pepper_is_asked_for():
    """A version is one of 62 characters."""
    assert len(set(FIELDS)) == 62


async def test_the_store_of_the_setting(valkey):
    """Any pepper of the store may be the one of the setting."""
    set_up(valkey, v1=OURS, v2=NEWER)
    for configured in (OURS, NEWER):
        async with open_link(valkey.endpoint, known=KnownStore(configured)) as link:
            assert await count(link, configured.encode()) == Counted()


@pytest.mark.parametrize("peppers", [{}, {"v1": THEIRS}])
async def test_a_store_without_the_pepper_of_the_setting(valkey, peppers):
    """A store without the pepper of the setting is refused, also one without any pepper."""
    set_up(valkey, **peppers)
    link = UsageLink(valkey.endpoint, RealClock(), KEPT, known=KnownStore(OURS))
    async with started(link.run()):
        await eventually(lambda: "meter.pepper_fingerprint" in link.reason)
        with pytest.raises(Unavailable):
            await count(link)
        assert counted(valkey) == []
        set_up(valkey, v1=OURS)
        await eventually(lambda: not link.reason)
        assert await count(link) == Counted()


@pytest.mark.parametrize(
    "peppers", [{}, {"v1": THEIRS}, {"v2": NEWER}, {"v1": THEIRS, "v2": NEWER}]
)
@pytest.mark.parametrize("is_linked", [True, False], ids=["on a link", "on a new link"])
async def test_another_store_takes_the_place_of_ours(valkey, peppers, is_linked):
    """Without the setting the first store is believed, and then no other one."""
    set_up(valkey, v1=OURS)
    async with open_link(valkey.endpoint) as link:
        assert await count(link) == Counted()
        valkey.admin.flushall()
        set_up(valkey, **peppers)
        if not is_linked:
            valkey.admin.client_kill_filter(_type="normal", skipme=True)
        with pytest.raises(Unavailable):
            await count(link, b"two")
        await eventually(lambda: "another installation" in link.reason)
        assert counted(valkey) == []
        valkey.admin.flushall()
        set_up(valkey, v1=OURS, v2=NEWER)
        await eventually(lambda: not link.reason)
        assert await count(link, b"two") == Counted()


async def test_an_emptied_store_that_we_knew(valkey):
    """The reason asks for a restore, and not for `authz init`."""
    set_up(valkey, v1=OURS)
    async with open_link(valkey.endpoint) as link:
        valkey.admin.flushall()
        with pytest.raises(Unavailable):
            await count(link)
        await eventually(lambda: "authz restore FILE" in link.reason)
        assert counted(valkey) == []


async def test_a_store_without_peppers(valkey):
    """A store without peppers is believed while no pepper is known."""
    set_up(valkey)
    async with open_link(valkey.endpoint) as link:
        assert await count(link) == Counted()
        set_up(valkey, v1=OURS)
        assert await count(link, b"two") == Counted()


async def test_a_user_that_may_not_read_the_fingerprints(own_valkey):
    """Such a user counts nothing with the setting, and counts as before without it."""
    set_up(own_valkey, v1=OURS)
    rules = [
        "reset",
        "on",
        ">m",
        "~*",
        "&*",
        "+@all",
        "-hmget",
        f"(+hmget ~{schema.DEFAULT.usage}*)",
    ]
    own_valkey.admin.execute_command("ACL", "SETUSER", "meter", *rules)
    endpoint = own_valkey.login("meter", "m")
    kept = dict.fromkeys(Level, 86_400)
    link = UsageLink(endpoint, RealClock(), kept, known=KnownStore(OURS))
    async with started(link.run()):
        await eventually(lambda: "users.acl" in link.reason)
    async with open_link(endpoint) as link:
        assert await count(link) == Counted()


@pytest.mark.parametrize("reply", [b":1\r\n", b"%1\r\n+a\r\n+b\r\n", b"+OK\r\n"])
async def test_a_server_that_answers_everything_alike(reply):
    """The meter names the cause, and tries again and again."""
    asked = []

    def answer(words):
        asked.append(words[0])
        return says(reply)(words)

    with imitation(answer) as url:
        link = UsageLink(Endpoint.parse(url), RealClock(), KEPT)
        async with started(link.run()):
            await eventually(lambda: "none of Redis or Valkey" in link.reason)
            await eventually(lambda: asked.count(b"HELLO") == 3)
