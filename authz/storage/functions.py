"""The functions of the store: the scripts that sidecars and meters call, loaded by administration.

A user that may call functions and load nothing runs no code of its own in the store. A function
runs with the rights of its caller, as a script does.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import redis.asyncio
from redis import exceptions

from authz.core.errors import Unavailable
from authz.storage.cluster_client import primaries_of
from authz.storage.essential import WRITE
from authz.storage.limits.spend_script import SPEND_FUNCTION
from authz.storage.linked_script import READY
from authz.storage.refusals import refusal
from authz.storage.usage.usage_script import COMMIT_FUNCTION

FUNCTIONS: Final = (SPEND_FUNCTION, COMMIT_FUNCTION, WRITE)
EXISTS: Final = "already exists"


async def load(client: redis.asyncio.Redis) -> str:
    """Load the functions that the store lacks. Return the reason why it refused one, or "".

    Functions of other versions stay. On a cluster each primary gets them, because a function does
    not move with a slot; a primary that does not answer is such a reason. Raises Unavailable if the
    store cannot be used.
    """
    problems = []
    try:
        async with primaries_of(client) as primaries:
            for name, one in primaries.items():
                problem = await _load(one, name)
                problems += [f"{name}: {problem}" if name else problem] if problem else []
    except (exceptions.RedisError, OSError) as cause:
        raise Unavailable(f"the store cannot be used: {refusal(cause)}") from None
    return "; ".join(problems)


async def _load(client: redis.asyncio.Redis, name: str) -> str:
    ask: Callable[..., Awaitable[Any]] = client.execute_command
    for function in FUNCTIONS:
        try:
            await ask("FUNCTION", "LOAD", function.library)
        except exceptions.ResponseError as cause:
            if EXISTS not in str(cause):
                return refusal(cause)
        except (exceptions.RedisError, OSError) as cause:
            if not name:
                raise
            return refusal(cause)
    return ""


async def missing(client: redis.asyncio.Redis) -> list[str]:
    """Return the names of the functions that the store lacks; on a cluster, that a primary lacks.

    Raises Unavailable if the user may not call them, or the store cannot be used.
    """
    lacking: dict[str, None] = {}
    try:
        async with primaries_of(client) as primaries:
            for one in primaries.values():
                lacking |= dict.fromkeys(await _missing(one))
    except exceptions.NoPermissionError as cause:
        raise Unavailable(refusal(cause)) from None
    except (exceptions.RedisError, OSError) as cause:
        raise Unavailable(f"the store cannot be used: {refusal(cause)}") from None
    return list(lacking)


async def _missing(client: redis.asyncio.Redis) -> list[str]:
    ask: Callable[..., Awaitable[Any]] = client.execute_command
    lacking = []
    for function in FUNCTIONS:
        try:
            await ask("FCALL", function.name, "0", READY)
        except exceptions.NoPermissionError:
            raise
        except exceptions.ResponseError as cause:
            if function.is_missing(cause):
                lacking.append(function.name)
    return lacking
