"""Send a change until the store has confirmed it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from authz.core.errors import Conflict, LateConflict, OutcomeUnknown, Unavailable

MAX_TRIES: Final = 3
PAUSE: Final = 0.2  # seconds between two tries

_T = TypeVar("_T")


async def until_confirmed(
    send: Callable[[], Awaitable[_T]],
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> _T:
    """Return the reply of `send`. If a reply is lost, send again, which must be safe.

    At most MAX_TRIES (3) tries, PAUSE (0.2 s) apart. Raises OutcomeUnknown if a reply was lost and
    no later try succeeded, Unavailable if the first try was never sent. Other faults of `send`,
    such as Conflict, are raised at once; a Conflict after a lost reply as LateConflict.
    """
    unknown: OutcomeUnknown | None = None
    for _ in range(MAX_TRIES):
        if unknown is not None:
            await sleep(PAUSE)
        try:
            return await send()
        except OutcomeUnknown as fault:
            unknown = fault
        except Unavailable:
            if unknown is None:
                raise
        except Conflict as cause:
            if unknown is None:
                raise
            raise LateConflict(str(cause)) from None
    raise unknown or OutcomeUnknown("the store did not confirm the change")
