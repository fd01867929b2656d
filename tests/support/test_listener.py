"""The tests' listeners leave nothing behind."""

import asyncio
import subprocess
import sys

import pytest

from tests.support.listener import listening

ROUNDS = """
import asyncio, gc, random, socket, sys, uvloop
from tests.support.gate import Gate

async def round(target):
    clients = []
    async with Gate(target.getsockname()[1]) as gate:
        for _ in range(6):
            client = socket.socket()
            clients.append(client)
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", gate.port))
            for _ in range(random.randrange(4)):
                await asyncio.sleep(0)
    for client in clients:
        client.close()

loops = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
with socket.create_server(("127.0.0.1", 0), backlog=1000) as target:
    for _ in range(100):
        with asyncio.Runner(loop_factory=loops[sys.argv[1]]) as runner:
            runner.run(round(target))
        gc.collect()
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_connection_that_comes_at_the_end_leaves_nothing_behind(loop):
    """A connection may be unaccepted, just accepted, or half way through the gate."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ROUNDS, loop],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""


async def test_an_exception_of_the_server_is_raised():
    """An exception is raised, not only logged."""

    async def fail(_reader, _writer):
        raise ValueError

    async def connect():
        async with listening(fail) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()

    with pytest.raises(ValueError, match=r"^$"):
        await connect()
