"""Server-sent events."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from authz.console.pages import live
from tests.support.console.serving import Site, get


@asynccontextmanager
async def stream(site: Site) -> AsyncIterator[asyncio.StreamReader]:
    """Open the stream, and read its head."""
    host, _, port = site.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n")
    await writer.drain()
    # The API answers with the first change, so there is one.
    await asyncio.sleep(0.2)
    await site.rig.issue(client_id="first")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"text/event-stream" in head
    assert b"x-kept" not in head
    try:
        yield reader
    finally:
        writer.close()


async def test_a_change_is_an_event(site: Site) -> None:
    """Each change is an event without data of the key."""
    async with stream(site) as reader:
        await reader.readuntil(live.EVENT)
        kid, _ = await site.rig.issue(client_id="second")
        assert kid.encode() not in await reader.readuntil(live.EVENT)


async def test_the_stream_ends_with_the_session(site: Site) -> None:
    """After a logout no event comes, and the stream ends."""
    async with stream(site) as reader:
        await reader.readuntil(live.EVENT)
        site.sessions.session = None
        await site.rig.issue(client_id="second")
        assert live.EVENT not in await reader.read()


async def test_a_stream_has_an_end(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream ends by itself, so that no connection stays for ever."""
    monkeypatch.setattr(live, "STREAM_SECONDS", -1.0)
    async with stream(site) as reader:
        assert (await reader.read()).count(live.EVENT) == 1


async def test_a_reading_by_a_script_keeps_no_session_alive(site: Site) -> None:
    """A page that is left open does not keep the visitor logged in."""
    assert "x-kept" in (await get(site, "/")).headers
    assert "x-kept" not in (await get(site, "/", {"x-live": "1"})).headers
