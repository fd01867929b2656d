"""Run the work of a command, also within a session, on a new event loop that Ctrl-C ends."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from authz.core.errors import OutcomeUnknown, Unavailable
from authz.process.interruption import raise_if_interrupted

_T = TypeVar("_T")
_Session = TypeVar("_Session")


def within(
    begun: AbstractAsyncContextManager[_Session], work: Callable[[_Session], Awaitable[_T]]
) -> _T:
    """Run `work` with the session of a context manager on a new event loop. Return its result.

    Raises the errors of both. Ctrl-C ends them, also if they report it as Unavailable.
    """

    async def run() -> _T:
        async with begun as session:
            return await work(session)

    return run_interruptible(run())


def run_interruptible(work: Coroutine[Any, Any, _T]) -> _T:
    """Run work with the store on a new event loop. Return its result.

    Raises its errors. Ctrl-C ends it, also if the work reports that as Unavailable.
    """
    return asyncio.run(_interruptible(work))


async def _interruptible(work: Coroutine[Any, Any, _T]) -> _T:
    try:
        return await work
    except OutcomeUnknown:  # reported even after Ctrl-C
        raise
    except Unavailable:
        raise_if_interrupted()  # else Ctrl-C looks like a store that does not answer
        raise
