"""Reconnecting: repeat connection attempts with a growing pause, and describe why one ended."""

import asyncio
import os
import random
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, Never

from authz.core.ports import Clock
from authz.storage.crowd import Crowd

BACKOFF_MIN: Final = 0.010  # seconds
BACKOFF_MAX: Final = 0.500


async def repeat(
    attempt: Callable[[], Awaitable[None]],
    clock: Clock,
    *,
    enough: float,
    crowd: Crowd | None = None,
) -> Never:
    """Start `attempt` again whenever it returns, until cancelled.

    An exception of `attempt` passes through. The pause doubles, up to BACKOFF_MAX (0.5 s), and is
    shortened by up to half at random. After an attempt of more than `enough` seconds it starts at
    BACKOFF_MIN (10 ms) again. crowd: adds a pause to each, so that many sidecars which lose their
    links at the same moment come back one after the other.
    """
    backoff = BACKOFF_MIN
    while True:
        began = clock.monotonic()
        await attempt()
        lasted = clock.monotonic() - began > enough
        backoff = BACKOFF_MIN if lasted else min(backoff * 2, BACKOFF_MAX)
        crowded = crowd.reconnect_pause() if crowd else 0.0
        await asyncio.sleep(crowded + backoff * random.uniform(0.5, 1))  # noqa: S311  jitter


def describe(cause: Exception, timeout: float) -> str:
    """Describe for an operator why an attempt ended.

    timeout: its limit in seconds, for a TimeoutError.
    """
    if isinstance(cause, TimeoutError):
        return f"it did not answer within {timeout:g} s"
    if isinstance(cause, ssl.SSLError):
        return f"TLS: {getattr(cause, 'verify_message', '') or cause.reason or cause}"
    if isinstance(cause, OSError):
        if cause.errno and cause.errno > 0:  # a resolver's error numbers are negative
            return os.strerror(cause.errno)
        return str(cause.strerror or cause)
    return str(cause)
