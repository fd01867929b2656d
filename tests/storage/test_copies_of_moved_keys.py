"""Copies follow their key: what belongs to it lies in the home of its latest owner."""

import asyncio
import time
from contextlib import AsyncExitStack, aclosing

import pytest

from authz.core.partitions import Partitions
from authz.storage.resharding.copying import Copying
from authz.storage.resharding.destinations import Destinations, Kind
from authz.storage.resharding.freezing import Freezing
from authz.storage.resharding.lease import RunLease
from authz.storage.resharding.target import Target
from authz.storage.schema import DEFAULT, Names
from tests.support.cli.in_process import CommandRunner
from tests.support.storage.resharding import SINK, count_uses_of, in_parts, spend
from tests.support.usage import KID

COUNT = 8
OF = Partitions(COUNT)
RUN = "this run"


@pytest.fixture
def runner(tmp_path, valkey, monkeypatch):
    """A directory with a pepper, and an initialised store of one partition."""
    return CommandRunner(tmp_path, valkey, monkeypatch)


def copies(valkey, kid):
    """Return the partitions that have something of a key, by the names of its parts."""
    found = {}
    for at in range(COUNT):
        names = Names(partition=at, partitions=COUNT)
        for name in valkey.admin.scan_iter(f"{names.beginning}*"):
            short = name.removeprefix(names.beginning)
            value = valkey.admin.get(name) if short.startswith("alias:") else ""
            if kid in short or value == kid:
                found.setdefault(short.replace(kid, "KID").partition(":")[0], set()).add(at)
    return found


def tenant_at(partition):
    """Return a tenant whose home a partition is."""
    names = (f"tenant-{number}" for number in range(1000))
    return next(one for one in names if OF.home("", "", one) == partition)


def test_a_key_that_gets_another_owner_during_the_copy(runner, valkey):
    """Record, index, alias, usage and limits go along, also those that are set aside already."""
    given = '{"key": "sk-0123456789abcdef", "client": "acme"}'
    kid = runner.run("keys", "import", "--json", stdin=given).document["rows"][0]["kid"]
    runner.run("keys", "update", kid, "--tenant", tenant_at(3))
    count_uses_of(runner, [kid], time.time_ns() // 1_000_000)

    async def look(parts):
        async with AsyncExitStack() as stack:
            targets = []
            for at in range(COUNT):
                client = valkey.endpoint.client()
                await stack.enter_async_context(aclosing(client))
                client.names = Names(partition=at, partitions=COUNT)
                targets.append(await stack.enter_async_context(Target(client, RUN)))
                await targets[-1].claim(is_known=False)
            await spend(parts.only, DEFAULT.limit(kid), 5)
            copying = Copying(parts.only, targets, Destinations(OF))
            await copying.round()
            before = copies(valkey, kid)
            assert set(before) == {"key", "alias", "use", "limit"}
            assert set.union(*before.values()) == {3}
            await asyncio.to_thread(runner.run, "keys", "update", kid, "--tenant", tenant_at(5))
            freezing = Freezing(parts.only, RUN, COUNT)
            work = freezing.freeze([])
            await RunLease(parts.only, RUN).hold(work)
            await RunLease(parts.only, RUN).hold(freezing.freeze_limits([kid]))
            await copying.round()
            after = copies(valkey, kid)
            assert set(after) == set(before)
            assert set.union(*after.values()) == {5}
            there = Names(partition=5, partitions=COUNT)
            assert valkey.admin.type(there.limit(kid)) == "hash"
            assert [valkey.admin.zcard(target.names.keys) for target in targets] == [
                *[0] * 5,
                *[1, 0, 0],
            ]
            assert await copying.round() == 0

    in_parts(look)


def test_every_name_has_a_destination():
    """Names of keys and groups go to their home, shared ones everywhere, and no name is lost."""
    places = Destinations(OF)
    tenant = OF.home("", "", "a/b")
    for name, wanted in {
        f"key:{KID}": OF.of(KID),
        f"use:{KID}:o": OF.of(KID),
        f"limit:{KID}": OF.of(KID),
        "limit:tenant:a%2Fb": tenant,
        "limit:project:a%2Fb/web": tenant,
        "limit:project:web": Kind.EVERYWHERE,
        "limit:once:00": Kind.EVERYWHERE,
        "gone:7": Kind.EVERYWHERE,
        "use:seen:1": Kind.EVERYWHERE,
        "use:all:h:1": 0,
        "use:last": Kind.DIVIDED,
        f"events:sink:{SINK}": 0,
        "events:deliveries": Kind.DIVIDED,
        "alias:00": Kind.UNKNOWN,
        "limit:what": Kind.UNKNOWN,
        "use:what": Kind.UNKNOWN,
        "events:what": Kind.UNKNOWN,
        "what": Kind.UNKNOWN,
    }.items():
        assert places.of(name) == wanted, name


def test_each_name_of_the_schema_has_a_destination():
    """A name that is added to the store later is not forgotten by a move.

    Claims of imports exist only with several partitions. An alias needs its kid.
    """
    names, places = Names(), Destinations(OF)
    made = [one for one in vars(names).values() if isinstance(one, str)]
    for name, about in vars(Names).items():
        if callable(about) and not name.startswith("_") and name not in {"aside", "alias", "claim"}:
            argument = {"key": KID, "limit": KID, "gone": 7}.get(name, "a")
            made.append(getattr(names, name)(argument))
    of_partition = [one for one in made if one.startswith(names.beginning)]
    others = {names.beginning, names.changes, names.usage}
    assert len(of_partition) > 30
    for name in set(of_partition) - others:
        assert places.of(name.removeprefix(names.beginning)) != Kind.UNKNOWN, name
