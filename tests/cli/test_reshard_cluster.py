"""`authz init --reshard` on a cluster of three primaries, beside a writer, and killed twice."""

import asyncio
from pathlib import Path

import pytest

from authz.storage.schema import Names
from tests.cli.test_reshard_kills import COUNT, KEYS, judge, reshard, settings
from tests.support.cli.in_process import without_settings
from tests.support.cli.terminal import run
from tests.support.cluster import NAMES, Cluster
from tests.support.storage.moving_writer import Writer, with_doors


async def test_partitions_lie_on_all_primaries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All confirmed changes are there after the move, on three nodes instead of one."""
    without_settings(monkeypatch)
    monkeypatch.chdir(tmp_path)
    async with Cluster() as cluster:
        nodes = ",".join(f"127.0.0.1:{node.port}" for node in cluster.primaries)
        monkeypatch.setenv("AUTHZ_REDIS__URL", f"redis+cluster://{nodes}")
        await asyncio.to_thread(move, cluster)
        names = [Names(is_clustered=True, partition=at, partitions=COUNT) for at in range(COUNT)]
        found = [
            sum(isinstance(node.ask("ZCARD", one.keys), int) for node in cluster.primaries)
            for one in names
        ]
        assert found == [1] * COUNT
        per_node = [
            sum(isinstance(node.ask("ZCARD", one.keys), int) for one in names)
            for node in cluster.primaries
        ]
        assert min(per_node) >= 2


def move(cluster: Cluster) -> None:
    """Set up a store, and move it beside a writer, in a third run after two that are killed."""
    assert run("init").code == 0
    writer = Writer(settings(), 5)
    writer.issue(KEYS)
    writer.start()
    for kill_at in (90, 230):
        assert reshard("--keep", kill_at=kill_at) == -9
        cluster.owner.ask("DEL", NAMES.resharder)  # as if its time had passed
    assert reshard("--keep") == 0
    writer.stop()
    assert reshard() == 0
    asyncio.run(with_doors(settings(COUNT), lambda doors: judge(doors, writer)))
