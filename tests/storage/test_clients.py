"""Clients of redis-py: their tasks can be cancelled at any moment."""

import asyncio

import pytest
from redis.asyncio import Connection

from tests.support.real import Valkey


@pytest.mark.parametrize("when", ["before it is sent", "when it is sent"])
async def test_a_cancelled_command_ends(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Ctrl-C in the moment in which all of a command is sent does not wait for the reply."""
    client = valkey.endpoint.client()
    await client.ping()
    original = Connection._send_packed_command

    async def cancelled(self: Connection, command: list[bytes]) -> None:
        if when == "before it is sent":
            task.cancel()
            await asyncio.sleep(0)
        await original(self, command)
        task.cancel()

    monkeypatch.setattr(Connection, "_send_packed_command", cancelled)
    task = asyncio.create_task(client.ping())
    with pytest.raises(asyncio.CancelledError):
        await task
    monkeypatch.undo()
    assert await client.ping() is True  # over another connection, so it gets no reply to the first
    await client.aclose()


async def test_a_cancelled_task_cleans_up(valkey: Valkey) -> None:
    """Commands after a cancellation are carried out: only a new one ends them."""
    client, begun = valkey.endpoint.client(), asyncio.Event()

    async def work() -> bool:
        try:
            begun.set()
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return bool(await client.ping())
        return False

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    assert await task is True
    await client.aclose()
