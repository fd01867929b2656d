"""What the commands that work on the store have in common. Heavy to import: see main.py."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from authz.cli.invocation import Invocation
from authz.core.errors import OutcomeUnknown, Unavailable
from authz.flows.lifecycle import Lifecycle
from authz.settings.model import Settings, load
from authz.wiring import administration

_T = TypeVar("_T")


def load_settings(invocation: Invocation, **flags: dict[str, Any]) -> Settings:
    """The settings, with the flags of one command on top. Raises BadInput."""
    if invocation.redis is not None:
        flags["redis"] = {"url": invocation.redis}
    file = os.environ.get("AUTHZ_CONFIG") if invocation.config is None else invocation.config
    return load(None if file is None else Path(file), flags)


def with_session(
    invocation: Invocation, work: Callable[[administration.AdminSession], Awaitable[_T]]
) -> _T:
    """Do `work` that looks through the store's keys. Raises as `with_lifecycle` does."""
    found = load_settings(invocation)

    async def run() -> _T:
        async with administration.admin_session(found) as session:
            return await work(session)

    return asyncio.run(_interruptible(run()))


def with_lifecycle(invocation: Invocation, work: Callable[[Lifecycle], Awaitable[_T]]) -> _T:
    """Do `work` on the store's keys. Raises BadInput, Unavailable and what `work` raises."""
    found = load_settings(invocation)

    async def run() -> _T:
        async with administration.administration(found) as lifecycle:
            return await work(lifecycle)

    return asyncio.run(_interruptible(run()))


async def _interruptible(work: Coroutine[None, None, _T]) -> _T:
    try:
        return await work
    except OutcomeUnknown:  # to be told in any case
        raise
    except Unavailable:
        raise_if_interrupted()  # else Ctrl-C would be told as a store that does not answer
        raise


def raise_if_interrupted() -> None:
    """End long work here if Ctrl-C was pressed.

    redis-py opens and looks at connections within timeouts, and takes a cancellation that comes at
    their end for their own. The task remembers it.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
