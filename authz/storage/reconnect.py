"""How a link to the store is kept: made anew whenever it ends, and why it ended, in words."""

import asyncio
import os
import random
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, Never

from authz.core.ports import Clock

BACKOFF_MIN: Final = 0.010  # seconds
BACKOFF_MAX: Final = 0.500


async def keep(attempt: Callable[[], Awaitable[None]], clock: Clock, *, enough: float) -> Never:
    """Make an attempt whenever the one before has ended, until cancelled.

    The pause between two doubles with each that did not last longer than `enough` seconds.
    """
    backoff = BACKOFF_MIN
    while True:
        began = clock.monotonic()
        await attempt()
        lasted = clock.monotonic() - began > enough
        backoff = BACKOFF_MIN if lasted else min(backoff * 2, BACKOFF_MAX)
        await asyncio.sleep(backoff * random.uniform(0.5, 1))  # noqa: S311  jitter


def explained(cause: Exception, patience: float) -> str:
    """What an operator is told of the end of an attempt that was given `patience` seconds."""
    if isinstance(cause, TimeoutError):
        return f"it did not answer within {patience:g} s"
    if isinstance(cause, ssl.SSLError):
        return f"TLS: {getattr(cause, 'verify_message', '') or cause.reason or cause}"
    if isinstance(cause, OSError):
        if cause.errno and cause.errno > 0:  # a resolver's are below
            return os.strerror(cause.errno)
        return str(cause.strerror or cause)
    return str(cause)
