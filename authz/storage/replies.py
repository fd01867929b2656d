"""Replies of redis-py for administration, with its exceptions as Unavailable."""

from collections.abc import Awaitable
from typing import Any

from redis import exceptions

from authz.core.errors import Unavailable
from authz.storage.link import refusal


async def checked(answer: Awaitable[Any], advice: str = "") -> Any:
    """Return the reply. Raises Unavailable with the cause, then `advice`."""
    try:
        return await answer
    except (exceptions.RedisError, OSError) as cause:
        problem = f"the store cannot be used: {refusal(cause)}"
        text = f"{problem.removesuffix('.')}; {advice}" if advice else problem
        raise Unavailable(text) from None
