"""Meters that run in a test: one, or two that are killed while senders bring batches."""

import asyncio
import contextlib

from authz.flows.usage.batches import Deferred

CONFIRMED = 0.15  # seconds that a sender waits before it comes again


@contextlib.asynccontextmanager
async def running(meter):
    """Run a meter until the end of the block."""
    run = asyncio.create_task(meter.run())
    try:
        yield meter
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


async def deliver(batches, make, rnd, pause):
    """Send each batch, its number as its bytes, to two meters until one of them confirms it.

    A meter is killed now and then: its batches are forgotten, and their senders come again. make:
    returns a new meter. pause: the most seconds between two kills.
    """

    def started():
        meter = make()
        return meter, asyncio.create_task(meter.run())

    meters = [started(), started()]

    async def send(number):
        while True:
            await asyncio.sleep(rnd.random() * 0.003)
            found = rnd.choice(meters)[0].take(b"%d" % number, batches[number])
            with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                if not isinstance(found, Deferred) and await asyncio.wait_for(found, CONFIRMED):
                    return

    async def kill():
        while True:
            await asyncio.sleep(rnd.random() * pause)
            at = rnd.randrange(2)
            meters[at][1].cancel()
            meters[at] = started()

    killer = asyncio.create_task(kill())
    async with asyncio.TaskGroup() as senders:
        for number in range(len(batches)):
            senders.create_task(send(number))
    tasks = [killer, *(task for _, task in meters)]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
