"""Send commands as they are made, and read the replies in the end."""

import asyncio
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import hiredis
import redis.asyncio
from redis import exceptions

TOGETHER: Final = 100  # replies with one timeout


async def streamed(client: redis.asyncio.Redis, commands: Iterable[Sequence[Any]]) -> list[Any]:
    """Return the replies to these commands, in order. A reply that is an error is returned, too.

    All go over one connection, each as soon as it is made: the server works on a command while the
    next one is made. Raises the errors of redis-py if the connection fails. Then each command may
    or may not have been carried out.
    """
    pool: Any = client.connection_pool
    connection = await pool.get_connection()
    try:
        sent = 0
        for command in commands:
            await connection.send_packed_command([packed(command)], check_health=not sent)
            sent += 1
        return await replies_of(connection, sent)
    except BaseException:
        await connection.disconnect(nowait=True)  # a reply that nobody reads may still come
        raise
    finally:
        await pool.release(connection)


def packed(command: Sequence[Any]) -> bytes:
    """Return the bytes of a command. Its words are text, bytes and numbers.

    hiredis packs a tenth as long as redis-py.
    """
    words = tuple(command)
    try:
        bytes_of_it: bytes = hiredis.pack_command(words)
    except UnicodeEncodeError:
        bytes_of_it = hiredis.pack_command(tuple(map(_word, words)))
    return bytes_of_it


def _word(word: Any) -> Any:
    """Return a word for hiredis, which takes no surrogate.

    A surrogate stands for a byte of the store that is not UTF-8.
    """
    if isinstance(word, str):
        return word.encode(errors="surrogateescape")
    return word


async def replies_of(connection: Any, count: int) -> list[Any]:
    """Return the next `count` replies on a connection of redis-py. One may be an error.

    Raises the errors of redis-py if the connection fails, TimeoutError if TOGETHER (100) replies
    take longer than its `socket_timeout`.
    """
    found: list[Any] = []
    while len(found) < count:
        # redis-py takes longer for a timeout of each reply than for the reply.
        async with asyncio.timeout(connection.socket_timeout):
            for _ in range(min(TOGETHER, count - len(found))):
                found.append(await _reply(connection))  # noqa: PERF401  in groups
    return found


async def _reply(connection: Any) -> Any:
    try:
        return await connection.read_response(timeout=math.inf)
    except exceptions.ResponseError as error:
        return error
