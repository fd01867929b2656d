"""LinkedAliases: it finds an alias, its absence, or reports that it cannot know."""

import asyncio

import pytest

from authz.core.errors import Unavailable
from authz.core.keys.credentials import Alias
from authz.storage import schema
from authz.storage.endpoint import Endpoint
from authz.storage.imports import LinkedAliases
from tests.support.fakes import KID
from tests.support.real import eventually
from tests.support.storage import stored
from tests.support.storage.changing import ALIAS, NEWEST, OLDER, OTHER_KID, imported
from tests.support.storage.sidecar import Sidecar
from tests.support.storage.users import restrict

UNDER_WAY = 50  # lookups at a time: more would only pile up where the machine is busy


def known(alias):
    """Return kid and digest of an alias."""
    return alias.kid, alias.digest()


async def test_sidecar_is_told_of_the_first_import(valkey, admin, imports):
    """An imported key works from the notice of its import, not only from the next heartbeat."""
    async with Sidecar(valkey.endpoint, lease=60) as sidecar:
        await sidecar.trusted()
        assert sidecar.feed.meta.has_imports() is False
        await imports.allow_imports()
        await imports.apply_all([imported()])
        await eventually(sidecar.feed.meta.has_imports)
        assert known(await sidecar.alias([NEWEST, OLDER])) == (KID, NEWEST)


async def test_permissions_of_a_sidecar(valkey, admin, imports):
    """For imported keys a sidecar needs two commands in addition, and no right to write."""
    await imports.allow_imports()
    await imports.apply_all([imported()])
    async with Sidecar(restrict(valkey, also=["mget", "getrange"])) as sidecar:
        await sidecar.trusted()
        assert known(await sidecar.alias([NEWEST, OLDER])) == (KID, NEWEST)
        assert await sidecar.alias([OLDER]) is None
    assert valkey.admin.acl_log() == []


async def test_sidecar_that_may_not_look_up(valkey, admin):
    """A sidecar without MGET reports Unavailable."""
    async with Sidecar(restrict(valkey)) as sidecar:
        await sidecar.trusted()
        with pytest.raises(Unavailable, match="mget"):
            await sidecar.alias([NEWEST])


async def test_sidecar_that_starts_later(valkey, admin, imports):
    """A heartbeat reports that imports exist. Before the first one this is unknown."""
    await imports.allow_imports()
    async with Sidecar(valkey.endpoint) as sidecar:
        assert sidecar.feed.meta.has_imports() is None
        await sidecar.trusted()
        assert sidecar.feed.meta.has_imports() is True


async def test_imports_are_not_known_without_trust(own_valkey, own_admin):
    """The absence of imports is known only while the link is trusted."""
    async with Sidecar(own_valkey.endpoint) as sidecar:
        await sidecar.trusted()
        assert sidecar.feed.meta.has_imports() is False
        own_valkey.kill()
        await sidecar.untrusted()
        assert sidecar.feed.meta.has_imports() is None


async def test_store_of_other_peppers(valkey, admin, imports):
    """A foreign store gives no information about imports."""
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        valkey.admin.hset(stored.META, schema.META_PEPPER + "1", "another")
        await sidecar.untrusted()
        assert sidecar.feed.meta.has_imports() is None


async def test_lookups(valkey, admin, imports):
    """The first digest that has an alias is returned; if none has one, None."""
    await imports.apply_all([imported("c1", KID, [OLDER]), imported("c2", OTHER_KID, [b"x" * 32])])
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        assert known(await sidecar.alias([NEWEST, OLDER])) == (KID, OLDER)
        assert known(await sidecar.alias([b"x" * 32, OLDER])) == (OTHER_KID, b"x" * 32)
        assert await sidecar.alias([NEWEST]) is None
        assert await sidecar.alias([NEWEST, b"y" * 32, b"z" * 32]) is None


@pytest.mark.parametrize("digests", [[NEWEST], [NEWEST, OLDER], [NEWEST, OLDER, b"z" * 32]])
async def test_emptied_store(valkey, admin, imports, digests):
    """An emptied store never leads to the result that an alias does not exist."""
    async with Sidecar(valkey.endpoint, lease=60) as sidecar:
        await sidecar.trusted()
        valkey.admin.flushall()
        with pytest.raises(Unavailable, match="authz init"):
            await sidecar.alias(digests)
        for digest in digests[1:]:
            valkey.admin.rpush(stored.alias(digest), "text")
        with pytest.raises(Unavailable, match="authz init"):
            await sidecar.alias(digests)


@pytest.mark.parametrize("value", ["", "short", "x" * 17, "é" * 16, b"\xff" * 16])
async def test_garbled_alias(valkey, admin, value):
    """An alias that does not hold a kid is Unavailable."""
    valkey.admin.set(ALIAS, value)
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        with pytest.raises(Unavailable, match="does not hold a kid"):
            await sidecar.alias([NEWEST])


async def test_alias_that_is_no_text(valkey, admin):
    """An alias of another Redis type is Unavailable after two reads, without an endless loop."""
    valkey.admin.rpush(ALIAS, "text")
    async with Sidecar(valkey.endpoint) as sidecar:
        await sidecar.trusted()
        with pytest.raises(Unavailable, match="cannot be read"):
            await sidecar.alias([NEWEST, OLDER])


async def test_alias_that_appears_between_two_looks(valkey, admin):
    """A key that is imported while its absence is being confirmed is found."""
    async with Sidecar(valkey.endpoint, lease=60) as sidecar:
        await sidecar.trusted()
        delivered = []
        sidecar.aliases.resolve([NEWEST, OLDER], delivered.append)
        sidecar.feed.link.send(lambda _reply: valkey.admin.set(ALIAS, KID), "PING")
        await eventually(lambda: delivered)
    [alias] = delivered
    assert (alias.kid, alias.digest()) == (KID, NEWEST)


async def test_order_of_lookups_and_changes(valkey, admin, imports):
    """A lookup answered with None is delivered before the notice of the import."""
    told = []
    async with Sidecar(valkey.endpoint, lease=60) as sidecar:
        await sidecar.trusted()
        forget = sidecar.cache.forget
        sidecar.cache.forget = lambda kid, **more: (told.append("told"), forget(kid, **more))
        importing = asyncio.create_task(imports.apply_all([imported()]))
        asked = 0
        while "told" not in told:
            if asked - len(told) < UNDER_WAY:
                sidecar.aliases.resolve([NEWEST], told.append)
                asked += 1
            await asyncio.sleep(0)
        await importing
        sidecar.aliases.resolve([NEWEST], told.append)
        await eventually(lambda: isinstance(told[-1], Alias))
        after = told[told.index("told") + 1 :]
    assert None not in [answer for answer in after if answer != "told"]


async def test_not_connected():
    """Without a link a lookup is Unavailable, once, and not inside the call."""
    sidecar = Sidecar(Endpoint.parse("redis://127.0.0.1"))
    delivered = []
    LinkedAliases(sidecar.feed).resolve([NEWEST], delivered.append)
    assert delivered == []
    await asyncio.sleep(0)
    [fault] = delivered
    assert isinstance(fault, Unavailable)
