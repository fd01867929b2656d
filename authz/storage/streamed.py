"""Send commands as they are made, and read the replies in the end."""

from collections.abc import Iterable, Sequence
from typing import Any

import hiredis
import redis.asyncio
from redis import exceptions


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
            packed = hiredis.pack_command(tuple(map(_word, command)))
            await connection.send_packed_command([packed], check_health=not sent)
            sent += 1
        return [await _reply(connection) for _ in range(sent)]
    except BaseException:
        await connection.disconnect(nowait=True)  # a reply that nobody reads may still come
        raise
    finally:
        await pool.release(connection)


def _word(word: Any) -> Any:
    """Return a word for hiredis, which packs a tenth as long as redis-py but takes no surrogate.

    A surrogate stands for a byte of the store that is not UTF-8.
    """
    if isinstance(word, str) and not word.isascii():
        return word.encode(errors="surrogateescape")
    return word


async def _reply(connection: Any) -> Any:
    try:
        return await connection.read_response()
    except exceptions.ResponseError as error:
        return error
