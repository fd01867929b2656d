"""PrimaryLink on a real store: when a link is there, and what is logged about it."""

import asyncio
import contextlib
import logging

from authz.core.errors import Unavailable
from authz.storage.primary_link import PrimaryLink
from tests.support.real import RealClock, eventually


async def nothing(_link):
    """Prepare nothing."""


@contextlib.asynccontextmanager
async def kept_open(endpoint, prepare=nothing, **options):
    """Yield a running PrimaryLink."""
    primary = PrimaryLink(
        endpoint, RealClock(), name="test", subject="votes are", prepare=prepare, **options
    )
    running = asyncio.create_task(primary.run())
    try:
        yield primary
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_the_first_connection_is_logged_on_request(valkey, caplog):
    """A link that succeeds at once is logged only with logs_first."""
    caplog.set_level(logging.INFO)
    async with kept_open(valkey.endpoint) as primary:
        await eventually(lambda: primary.link)
    assert caplog.messages == []
    async with kept_open(valkey.endpoint, logs_first=True) as primary:
        assert primary.reason == "connecting"
        await eventually(lambda: primary.link)
        assert primary.reason == ""
    assert caplog.messages == [f"votes are counted in the store: {valkey.endpoint}"]


async def test_a_link_that_cannot_be_prepared_is_not_used(valkey, caplog):
    """The fault of a preparation is the reason, and is logged once. Then a link is prepared."""
    is_ready = False
    attempts = 0

    async def prepare(_link):
        nonlocal attempts
        attempts += 1
        if not is_ready:
            raise Unavailable("not now")

    caplog.set_level(logging.INFO)
    async with kept_open(valkey.endpoint, prepare) as primary:
        await eventually(lambda: attempts == 3)
        assert primary.link is None
        assert primary.reason == "not now"
        is_ready = True
        await eventually(lambda: primary.link)
        assert primary.reason == ""
    assert [line.partition(" in the store")[0] for line in caplog.messages] == [
        "votes are not counted",
        "votes are counted",
    ]


async def test_a_refusal_stands_until_the_store_counts(valkey):
    """A new link does not end a refusal; `accept` does."""
    async with kept_open(valkey.endpoint) as primary:
        await eventually(lambda: primary.link)
        first = primary.link
        primary.refuse(first, "it is full")
        assert primary.link is None
        await eventually(lambda: primary.link)
        assert primary.link is not first
        assert primary.reason == "it is full"
        primary.accept()
        assert primary.reason == ""


async def test_a_replica_is_refused(own_valkey, caplog):
    """A replica is refused, because its counts are lost at the next message of its primary."""
    own_valkey.admin.replicaof("127.0.0.1", "1")
    async with kept_open(own_valkey.endpoint) as primary:
        await eventually(lambda: "it is a replica; votes are counted on the primary" in caplog.text)
        assert primary.link is None


async def test_an_unreachable_store_is_reported_in_words(own_valkey, caplog):
    """An unreachable store is reported by the reason alone, without errno and call."""
    own_valkey.kill()
    where = own_valkey.endpoint
    async with kept_open(where):
        await eventually(lambda: caplog.messages)
    assert caplog.messages == [f"votes are not counted in the store: {where}: Connection refused"]
