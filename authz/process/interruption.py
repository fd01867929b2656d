"""Ctrl-C in a task that works with redis-py."""

import asyncio


def raise_if_interrupted() -> None:
    """Raise CancelledError if Ctrl-C was pressed during the current task; else do nothing.

    redis-py works with timeouts and mistakes a cancellation at their end for a timeout, or takes a
    reply that came in that moment and forgets the cancellation. The task still knows of it.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
