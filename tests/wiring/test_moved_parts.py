"""`whole`: what is told after a block if the store was moved meanwhile."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from authz.core.errors import Conflict, Unavailable
from authz.settings import model
from authz.storage import schema
from authz.storage.endpoint import Endpoint
from authz.wiring import moved_parts
from authz.wiring.moved_parts import whole, with_move
from authz.wiring.store_parts import StoreParts
from tests.support.cli.in_process import CommandRunner
from tests.support.real import Valkey


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """No block is a short one."""
    monkeypatch.setattr(moved_parts, "SHORT_SECONDS", -1.0)


@pytest.fixture
def gone(valkey: Valkey) -> Endpoint:
    """A store that refuses connections."""
    return replace(valkey.endpoint, port=1)


async def block(where: Endpoint, *, reads: bool, fault: Exception | None = None) -> None:
    """Run a block over a store with one partition, which raises `fault` unless it is None."""
    async with AsyncExitStack() as stack:
        client = where.client()
        stack.push_async_callback(client.aclose)
        parts = with_move(StoreParts.of_one(client), model.Settings(), stack)
        async with whole(parts, reads=reads):
            if fault is not None:
                raise fault


async def test_a_store_that_fails_after_a_change(gone: Endpoint) -> None:
    """The block has made its change, so its answer is not lost."""
    await block(gone, reads=False)


async def test_a_store_that_fails_after_reads(gone: Endpoint) -> None:
    """Nobody knows if the block has missed data."""
    with pytest.raises(Unavailable):
        await block(gone, reads=True)


@pytest.mark.parametrize("reads", [False, True])
async def test_a_store_that_fails_after_a_fault(gone: Endpoint, reads: bool) -> None:
    """The fault of the block is told."""
    with pytest.raises(Conflict, match="the first fault"):
        await block(gone, reads=reads, fault=Conflict("the first fault"))


@pytest.mark.parametrize("reads", [False, True])
async def test_a_fault_after_a_move(valkey: Valkey, reads: bool) -> None:
    """The block may have missed data, so the answer says so."""
    signpost = {schema.META_PARTITIONS: "8", schema.META_COMPLETE: "1"}
    valkey.admin.hset(schema.DEFAULT.meta, mapping=signpost)
    with pytest.raises(Unavailable, match="was moved to 8 partitions while"):
        await block(valkey.endpoint, reads=reads, fault=Conflict("the first fault"))


def test_a_new_key_is_shown(
    tmp_path: Path, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new key is shown once, also if the store fails right after it was made."""
    runner = CommandRunner(tmp_path, valkey, monkeypatch)

    async def fails(_client: object) -> None:
        await asyncio.sleep(0)
        raise Unavailable("the store is gone")

    monkeypatch.setattr(moved_parts, "move_state", fails)
    done = runner.run("keys", "issue", "--client", "acme", "--json")
    assert (done.code, "key" in done.document) == (0, True), done.err
