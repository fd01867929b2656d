"""What a process is told about its end."""

import asyncio
import os
import signal

import pytest

from authz.process.ending import Ending
from tests.support.real import PATIENCE

LONG = 3600.0


async def told(ending: Ending) -> str:
    """The reason, which has to be there."""
    return await asyncio.wait_for(ending.requested(), PATIENCE)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_is_a_reason(number):
    """Its name is."""
    ending = Ending()
    ending.listen()
    os.kill(os.getpid(), number)
    assert await told(ending) == number.name


async def test_the_first_word_is_the_reason_the_second_hurries():
    """A second one ends the pause, and whatever else waits for it."""
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
    """Nobody has to hurry."""
    ending = Ending()
    ending.request("SIGTERM")
    await asyncio.wait_for(ending.pause(0.001), PATIENCE)


async def test_at_a_terminal_there_is_no_pause():
    """Ctrl-C comes from somebody who waits."""
    ending = Ending()
    ending.request("SIGINT")
    await asyncio.wait_for(ending.pause(LONG), PATIENCE)
