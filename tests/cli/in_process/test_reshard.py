"""`authz init --reshard` moves a store with one partition to several."""

import asyncio
import random
import time
from contextlib import aclosing

import pytest

from authz.core.errors import Unavailable
from authz.core.partitions import Partitions
from authz.storage.resharding import moving, stages
from authz.storage.resharding.freezing import Freezing
from authz.storage.resharding.trail_copy import TrailCopy
from authz.storage.schema import DEFAULT, Names
from tests.support.cli.in_process import CommandRunner, refusal
from tests.support.storage.resharding import count_uses_of, everything, fill

COUNT = 8
HOUR = 3_600_000
MOVE = ("init", "--reshard", "--yes", "--json")


@pytest.fixture
def runner(tmp_path, valkey, monkeypatch):
    """A directory with a pepper, and an initialised store of one partition."""
    monkeypatch.setattr(moving, "LATE_SECONDS", 0.0)
    monkeypatch.setattr(moving, "NOTICE_SECONDS", 0.0)
    return CommandRunner(tmp_path, valkey, monkeypatch)


@pytest.fixture
def divide(runner, monkeypatch):
    """A function that changes redis.partitions."""
    return lambda count=COUNT: monkeypatch.setenv("AUTHZ_REDIS__PARTITIONS", str(count))


@pytest.mark.parametrize(("seed", "count", "keys"), [(1, 8, 16), (2, 48, 8)])
def test_everything_is_as_before(runner, divide, seed, count, keys):
    """Keys, histories, usage, limits, events and all that belongs to no key read as before."""
    kids = fill(runner, random.Random(seed), keys)
    before = everything(runner, kids)
    divide(count)
    done = runner.run(*MOVE)
    assert done.code == 0, done.err
    assert done.document["keys"] == len(kids)
    after = everything(runner, kids)
    assert {name: after[name] for name in before} == before


def test_work_goes_on_afterwards(runner, divide):
    """Old keys and new ones are found, changed and deleted, and the trail stays whole."""
    kids = fill(runner, random.Random(3), 8)
    divide()
    assert runner.run(*MOVE).code == 0
    new, _ = runner.issue("--tenant", "tenant-1")
    for kid in (*kids, new):
        assert runner.run("keys", "update", kid, "--name", "after").code in {0, 1}
    live = [kid for kid in (*kids, new) if runner.status(kid) != "revoked"]
    for kid in live[::2]:
        assert runner.run("keys", "revoke", kid).code == 0
        assert runner.run("keys", "delete", kid).code == 0
    left = {one["kid"] for one in runner.run("keys", "list", "--json").document["keys"]}
    assert left == {*kids, new} - set(live[::2])
    assert runner.run("audit", "verify").code == 0
    assert "fail" not in runner.run("doctor").out
    assert runner.run("init").code == 0


def test_an_export_goes_on(runner, divide):
    """An export with a cursor brings no record again and leaves out none, also of deleted keys."""
    kids = [runner.issue(client=f"c{at}")[0] for at in range(4)]

    def used(hours):
        now = time.time_ns() // 1_000_000
        count_uses_of(runner, kids, (now // HOUR - hours) * HOUR + 60_000)

    def exported(*options):
        done = runner.run("usage", "export", *options)
        assert done.code == 0, done.err
        return sorted(done.out.splitlines())

    used(6)
    first = exported("--cursor", "kept")
    used(5)
    for word in ("revoke", "delete"):
        assert runner.run("keys", word, kids[0]).code == 0
    everything_so_far = exported()
    divide()
    assert runner.run(*MOVE).code == 0
    assert exported() == everything_so_far
    rest = exported("--cursor", "kept")
    assert sorted([*first, *rest]) == everything_so_far
    assert len(rest) == len(kids) * 2
    assert exported("--cursor", "kept") == []


def test_old_names_are_removed(runner, divide, valkey):
    """Nothing of the old store is left but its signpost, and lists that end by themselves.

    --keep leaves all of it, and the next run removes it.
    """
    fill(runner, random.Random(4), 6)
    divide()
    kept = runner.run(*MOVE, "--keep")
    assert kept.code == 0, kept.err
    assert valkey.admin.exists(DEFAULT.aside(DEFAULT.audit))
    assert runner.run(*MOVE).document["is_continued"] is True
    for name in valkey.admin.scan_iter(f"{DEFAULT.beginning}*"):
        assert (valkey.admin.type(name), valkey.admin.pttl(name) > 0) == ("list", True), name
    assert valkey.admin.hgetall(DEFAULT.meta) == {
        "schema": "1",
        "partitions": str(COUNT),
        "complete": "1",
    }
    assert runner.run(*MOVE).document["is_moved"] is False
    for at in range(COUNT):
        names = Names(partition=at, partitions=COUNT)
        assert valkey.admin.hget(names.meta, "moved") == "1"
        assert not valkey.admin.exists(names.restoring)


def test_two_runs_at_once(runner, divide, valkey):
    """The second one is refused while the first has its lease, and has changed nothing."""
    runner.issue()
    divide()
    valkey.admin.set(DEFAULT.resharder, "another")
    before = {name: valkey.admin.dump(name) for name in valkey.admin.scan_iter()}
    assert "another run moves this store" in refusal(runner.run(*MOVE), 1)
    assert {name: valkey.admin.dump(name) for name in valkey.admin.scan_iter()} == before


def test_a_failure_thaws_the_store(runner, divide, monkeypatch):
    """If the store cannot be copied exactly, it takes changes again, and a later run moves it."""
    kid, _ = runner.issue()
    divide()

    async def failing(*_words):
        raise Unavailable("the trail cannot be copied")

    with monkeypatch.context() as patched:
        patched.setattr(TrailCopy, "finish", failing)
        done = runner.run(*MOVE)
        assert (done.code, "the store takes changes again" in done.err) == (3, True)
    divide(1)
    assert "moves to 8 partitions" in runner.run("doctor").out
    assert runner.run("keys", "update", kid, "--name", "new").code == 0
    divide()
    assert runner.run(*MOVE).code == 0
    assert runner.run("keys", "show", kid, "--json").document["name"] == "new"


def test_a_frozen_store_is_no_damaged_one(runner, valkey):
    """`authz doctor` says that the store is frozen, and what ends that. A backup is refused."""
    runner.issue()

    async def freeze():
        async with aclosing(valkey.endpoint.client()) as client:
            valkey.admin.set(DEFAULT.resharder, "run")
            valkey.admin.hset(DEFAULT.resharding, "stage", "frozen")
            await Freezing(client, "run", COUNT).freeze([])

    asyncio.run(freeze())
    valkey.admin.hset(DEFAULT.meta, "resharding", str(COUNT))
    done = runner.run("backup", "kept")
    assert (done.code, f"is moving to {COUNT} partitions" in done.err) == (3, True), done.err
    out = runner.run("doctor").out
    assert "the store is frozen for a move" in out
    assert "others wrote into the store" not in out


def test_what_cannot_be_moved_is_refused(runner, divide, valkey):
    """A name that this version does not know is named, and the store goes on as before."""
    kid, _ = runner.issue()
    valkey.admin.set("authz:{0}:new:thing", "1")
    divide()
    done = runner.run(*MOVE)
    assert (done.code, "authz:{0}:new:thing" in done.err) == (3, True)
    divide(1)
    assert runner.run("keys", "revoke", kid).code == 0
    divide()
    assert runner.run("init", "--reshard", "--cancel").out.startswith("the move is cancelled")
    assert runner.run("init", "--reshard", "--cancel").out == "there is no move to cancel\n"
    assert {name for name in valkey.admin.scan_iter() if "{0}" not in name} == {DEFAULT.meta}


def test_a_damaged_record_is_moved_as_it_is(runner, divide, valkey):
    """A record without a readable owner lies where its kid leads, and the answer counts it."""
    kids = [runner.issue("--tenant", "t")[0] for _ in range(2)]
    valkey.admin.hdel(DEFAULT.key(kids[0]), "secrets")
    fields = valkey.admin.hgetall(DEFAULT.key(kids[0]))
    valkey.admin.set(DEFAULT.key(kids[1]), "spoiled")
    divide()
    done = runner.run(*MOVE).document
    assert (done["keys"], done["damaged"]) == (2, [kids[1]])
    of = Partitions(COUNT)
    there = Names(partition=of.home("", "", "t"), partitions=COUNT).key(kids[0])
    assert valkey.admin.hgetall(there) == fields
    there = Names(partition=of.of(kids[1]), partitions=COUNT).key(kids[1])
    assert valkey.admin.get(there) == "spoiled"
    for kid in kids:
        assert runner.run("keys", "show", kid).code == 3


def test_wrong_uses(runner, divide):
    """--reshard needs several partitions and an answer, and other options need --reshard."""
    assert "redis.partitions" in refusal(runner.run(*MOVE))
    assert "--cancel" in refusal(runner.run("init", "--cancel"))
    divide()
    assert "--yes" in refusal(runner.run("init", "--reshard"))


def test_a_store_of_others_is_refused(runner, divide, valkey):
    """Data where a partition is to be is not overwritten."""
    runner.issue()
    there = Names(partition=3, partitions=COUNT)
    valkey.admin.set(there.seq, "7")
    divide()
    done = runner.run(*MOVE)
    assert (done.code, "partition 3" in done.err) == (3, True)
    assert valkey.admin.get(there.seq) == "7"
    valkey.admin.delete(there.seq)
    assert runner.run(*MOVE).code == 0  # what the refused run has left does not matter


def test_a_decided_move_whose_copy_is_lost(runner, divide, valkey, monkeypatch):
    """A partition that has lost its data is not completed, so its keys do not get 401."""
    runner.issue()
    divide()

    async def failing(_self):
        raise Unavailable("the store is gone")

    with monkeypatch.context() as patched:
        patched.setattr(moving.Moving, "_complete", failing)
        assert runner.run(*MOVE).code == 3
    lost = Names(partition=3, partitions=COUNT)
    for name in valkey.admin.scan_iter(f"{lost.beginning}*"):
        valkey.admin.delete(name)
    done = runner.run(*MOVE)
    assert (done.code, "partition 3 has lost its copy" in done.err) == (3, True)
    assert not valkey.admin.exists(lost.meta)


def test_another_server_is_noticed(runner, divide, monkeypatch):
    """Nothing is moved if a server was replaced while it was copied."""
    kid, _ = runner.issue()
    divide()
    names = iter(["first"] * (COUNT + 1) + ["second"] * (COUNT + 1))

    async def server(_client):
        return next(names)

    with monkeypatch.context() as patched:
        patched.setattr(moving, "server_of", server, raising=False)
        done = runner.run(*MOVE)
    assert (done.code, "restarted or replaced" in done.err) == (3, True)
    divide(1)
    assert runner.run("keys", "update", kid, "--name", "new").code == 0
    divide()
    assert runner.run(*MOVE).code == 0


def test_a_change_waits_for_sidecars_that_do_not_know_of_the_move(runner, divide, valkey):
    """A sidecar that has not registered in the partitions is in their registries as it was."""
    runner.issue()
    valkey.admin.zadd(DEFAULT.sidecars, {"asleep": 1000.5, "without-entry": 7})
    valkey.admin.set(DEFAULT.sidecar("asleep"), '{"instance": "asleep"}', px=60_000)
    divide()
    assert runner.run(*MOVE).code == 0
    for at in range(COUNT):
        names = Names(partition=at, partitions=COUNT)
        found = dict(valkey.admin.zrange(names.sidecars, 0, -1, withscores=True))
        assert found == {"asleep": 1000.5, "without-entry": 7}
        assert valkey.admin.get(names.sidecar("asleep")) == '{"instance": "asleep"}'
        assert 0 < valkey.admin.pttl(names.sidecar("asleep")) <= 60_000


def test_a_decision_that_a_failover_has_lost(runner, divide, valkey, monkeypatch):
    """Once a partition is complete, the old store is not thawed: its keys may have been changed."""
    kid, _ = runner.issue()
    divide()

    async def failing(_self, _content):
        raise Unavailable("the node is gone")

    with monkeypatch.context() as patched:
        patched.setattr(stages.Stages, "switch", failing)
        assert runner.run(*MOVE).code == 3
    valkey.admin.hset(DEFAULT.resharding, "stage", "frozen")
    assert "cannot be cancelled" in refusal(runner.run("init", "--reshard", "--cancel"), 1)
    done = runner.run(*MOVE)
    assert (done.code, done.document["is_continued"]) == (0, True), done.err
    assert runner.run("keys", "revoke", kid).code == 0
