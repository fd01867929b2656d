"""Usage of the former version beside that of this one, on one store: both meters count exactly."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from authz.core.listen_address import Address
from authz.storage import schema
from tests.support.docs import ROOT
from tests.support.metering import batch, export
from tests.support.real import Valkey, free_port
from tests.support.usage import KID, line
from tests.upgrade import former
from tests.upgrade.former import SECONDS, Process, Version

BATCHES = 80


class Meter(Process):
    """`authz meter` of a version."""

    def __init__(self, code: Path, directory: Path, store: Valkey) -> None:
        self.listen, ops = Address("127.0.0.1", free_port()), f"127.0.0.1:{free_port()}"
        ours = {"listen": str(self.listen), "ops_listen": ops, "commit_interval": "10ms"}
        super().__init__(Version(code, former.settings(directory, store, meter=ours)), ops, "meter")

    async def take(self, ended: int) -> None:
        """Let it count one batch with three requests of the key, until it has confirmed it."""
        lines = [line(started=ended, milliseconds="0", received="10") for _ in range(3)]
        await export(self.listen, batch(*lines), seconds=SECONDS)


@pytest.fixture(scope="module")
def old_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the code of the former version."""
    return former.code(tmp_path_factory.mktemp("former"))


@pytest.fixture
def store() -> Iterator[Valkey]:
    """Yield an empty store."""
    with Valkey() as valkey:
        yield valkey


def counted(version: Version, by: str) -> int:
    """Return how many requests of the key a version shows of the last 30 hours."""
    found: dict[str, Any] = version.json("usage", "--key", KID, "--since", "30h", "--by", by)
    return int(found["total"]["requests"])


async def test_meters_of_both_versions_count_into_one_store(
    old_code: Path, store: Valkey, tmp_path: Path
) -> None:
    """This version shows what both counted, whichever came last. The former one shows its own.

    After a roll back the former version counts on, and after the next update all of it is there.
    """
    present = Meter(ROOT, tmp_path, store)
    before = Meter(old_code, tmp_path, store)
    present.version.run("init")
    now = int(time.time() * 1000)
    with before, present:
        for number in range(BATCHES):  # more minutes than stay in the open usage
            ended = now - (BATCHES - number) * 60_000
            await (before, present)[number % 2].take(ended)
        for by in ("minute", "hour", "day"):
            assert counted(present.version, by) == 3 * BATCHES
        assert store.admin.exists(f"{schema.DEFAULT.usage}{KID}:ph")
        assert counted(before.version, "day") == 3 * BATCHES // 2
        await before.take(now)
        await before.take(now)
    assert counted(present.version, "day") == 3 * BATCHES + 6
    assert counted(before.version, "day") == 3 * BATCHES // 2 + 6
