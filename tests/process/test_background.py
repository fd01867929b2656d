"""Works of a process that run beside its requests."""

import asyncio

from authz.process.background import started


async def test_a_fault_is_in_the_log(caplog):
    """A work that fails is not silent, also while its task is still referred to."""

    async def work() -> None:
        raise RuntimeError("out of order")

    task = started(work())
    await asyncio.wait({task})
    await asyncio.sleep(0)
    assert "work has ended by a fault" in caplog.text
    assert "out of order" in caplog.text


async def test_an_end_in_order_is_no_fault(caplog):
    """A work that is cancelled, or returns, leaves no line in the log."""
    waiting, done = started(asyncio.sleep(3600)), started(asyncio.sleep(0))
    await done
    waiting.cancel()
    await asyncio.wait({waiting})
    assert caplog.text == ""
