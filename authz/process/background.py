"""Works of a process that run beside its requests until it ends."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger("authz.process")


def started(work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
    """Return the running task of a work. If it ends by a fault, the log says so at once."""
    task = asyncio.create_task(work)
    task.add_done_callback(_tell)
    return task


def _tell(task: "asyncio.Task[None]") -> None:
    fault = None if task.cancelled() else task.exception()
    if fault is not None:
        name = getattr(task.get_coro(), "__qualname__", "a work")
        log.critical("%s has ended by a fault and needs a restart", name, exc_info=fault)
