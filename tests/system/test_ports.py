"""Clients that fill the operations and health ports of a sidecar harm neither Checks nor probes."""

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from authz.core.listen_address import Address
from tests.support.real import Valkey, eventually, free_port
from tests.support.rpc.messages import check_request
from tests.support.rpc.servers import ask
from tests.support.serving import Serving, prepared

IDLE = 1500  # connections
BATCH = 100  # opened at a time, fewer than a listener's backlog
SCRAPES = 60


@asynccontextmanager
async def idle_connections(address: Address) -> AsyncIterator[None]:
    """Open many connections that send nothing."""
    writers: list[asyncio.StreamWriter] = []
    try:
        for _ in range(IDLE // BATCH):
            opening = (asyncio.open_connection(address.host, address.port) for _ in range(BATCH))
            writers += [writer for _, writer in await asyncio.gather(*opening)]
        yield
    finally:
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)


async def scrape(address: Address) -> int:
    """Return the status of /metrics on a connection of its own."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return int(answer.split()[1])


@pytest.mark.parametrize("port", ["ops", "health"])
async def test_idle_connections_and_scrapes_harm_nobody(tmp_path: Path, valkey: Valkey, port: str):
    """With few file descriptors the sidecar still answers each Check, probe and scrape."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 2 * IDLE:
        pytest.skip("needs a hard limit on open files of 3,000 or more")
    health = Address("127.0.0.1", free_port())
    sidecar = Serving(tmp_path, valkey, {"ops": {"health_listen": str(health)}})
    (issued,) = await prepared(sidecar.file)
    ops = Address.parse("", sidecar.ops.removeprefix("http://"))
    async with AsyncExitStack() as stack:
        stack.enter_context(sidecar)
        await eventually(sidecar.is_ready)
        resource.prlimit(sidecar.pid, resource.RLIMIT_NOFILE, (400, 400))
        await stack.enter_async_context(idle_connections(ops if port == "ops" else health))
        message = check_request([("x-api-key", issued.key_text)])
        for _ in range(3):
            answer = await ask(Address.parse("", sidecar.check), message)
            assert answer.HasField("ok_response")
            assert (await asyncio.to_thread(sidecar.look, "/healthz"))[0] == 200
        assert {await scrape(ops) for _ in range(SCRAPES)} == {200}
        assert len(list(Path(f"/proc/{sidecar.pid}/fd").iterdir())) < 250
