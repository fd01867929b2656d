"""What administration hears from the store over redis-py: the reply, or why there is none."""

from collections.abc import Awaitable
from typing import Any

from redis import exceptions

from authz.core.errors import Unavailable
from authz.storage.link import refusal


async def answered(answer: Awaitable[Any], advice: str = "") -> Any:
    """The reply. Raises Unavailable, with what to do about it behind the cause."""
    try:
        return await answer
    except (exceptions.RedisError, OSError) as cause:
        problem = f"the store cannot be used: {refusal(cause)}"
        told = f"{problem.removesuffix('.')}; {advice}" if advice else problem
        raise Unavailable(told) from None
