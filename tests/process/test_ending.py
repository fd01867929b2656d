"""Requests to end a process."""

import asyncio
import os
import signal

import pytest

from authz.process.ending import Ending
from tests.support.real import PATIENCE

LONG = 3600.0


async def told(ending: Ending) -> str:
    """Return the reason, which must exist."""
    return await asyncio.wait_for(ending.requested(), PATIENCE)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_is_a_reason(number):
    """The reason is the name of the signal."""
    ending = Ending()
    ending.listen()
    os.kill(os.getpid(), number)
    assert await told(ending) == number.name


async def test_the_first_word_is_the_reason_the_second_hurries():
    """A second request ends the pause, but does not change the reason."""
    ending = Ending()
    ending.request("too large")
    pausing = asyncio.create_task(ending.pause(LONG))
    repeated = asyncio.create_task(ending.repeated())
    await asyncio.sleep(0)
    assert not pausing.done()
    assert not repeated.done()

    ending.request("SIGTERM")

    await asyncio.wait_for(asyncio.gather(pausing, repeated), PATIENCE)
    assert await told(ending) == "too large"


async def test_a_pause_ends_by_itself():
    """A pause ends without a second request."""
    ending = Ending()
    ending.request("SIGTERM")
    await asyncio.wait_for(ending.pause(0.001), PATIENCE)


async def test_at_a_terminal_there_is_no_pause():
    """SIGINT has no pause."""
    ending = Ending()
    ending.request("SIGINT")
    await asyncio.wait_for(ending.pause(LONG), PATIENCE)


async def test_a_reason_may_leave_no_pause():
    """The process then ends as after SIGINT, with its own reason."""
    ending = Ending()
    ending.request("its parent process has ended", has_pause=False)
    await asyncio.wait_for(ending.pause(LONG), PATIENCE)
    assert await told(ending) == "its parent process has ended"


async def test_a_server_drains_until_it_has_stopped():
    """Without a second request, the server gets its seconds and is stopped once."""
    ending, waits = Ending(), []

    async def stop(seconds):
        waits.append(seconds)

    await asyncio.wait_for(ending.drain(stop, 2.0), PATIENCE)
    assert waits == [2.0]


async def test_a_second_request_ends_a_drain():
    """After a second request, the server is stopped again, with no time to wait."""
    ending, waits, stopped = Ending(), [], asyncio.Event()

    async def stop(seconds):
        waits.append(seconds)
        if seconds:
            await stopped.wait()
        stopped.set()

    ending.request("SIGTERM")
    draining = asyncio.create_task(ending.drain(stop, LONG))
    await asyncio.sleep(0.01)
    assert not draining.done()

    ending.request("SIGTERM")

    await asyncio.wait_for(draining, PATIENCE)
    assert waits == [LONG, 0]
