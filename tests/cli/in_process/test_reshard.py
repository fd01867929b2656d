"""`authz init --reshard` moves a store with one partition to several."""

import random

import pytest

from authz.storage.resharding import moving
from tests.support.cli.in_process import CommandRunner
from tests.support.storage.resharding import everything, fill


@pytest.fixture
def runner(tmp_path, valkey, monkeypatch):
    """A directory with a pepper, and an initialised store of one partition."""
    monkeypatch.setattr(moving, "LATE_SECONDS", 0.0)
    return CommandRunner(tmp_path, valkey, monkeypatch)


@pytest.mark.parametrize(("seed", "count"), [(1, 8), (2, 48)])
def test_everything_is_as_before(runner, monkeypatch, seed, count):
    """Keys, histories, usage, limits, events and all that belongs to no key read as before."""
    kids = fill(runner, random.Random(seed))
    before = everything(runner, kids)
    monkeypatch.setenv("AUTHZ_REDIS__PARTITIONS", str(count))
    done = runner.run("init", "--reshard", "--yes", "--json")
    assert done.code == 0, done.err
    assert done.document["keys"] == len(kids)
    after = everything(runner, kids)
    assert {name: after[name] for name in before} == before
