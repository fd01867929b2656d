"""GuardedWrites: transactions that are made only while a condition on the store holds.

Rules:
1. Each transaction is preceded by its own WATCH and questions. It is sent only if their answers
   allow it, and the store refuses it if a watched name changed since.
2. The WATCH and the questions for the next transaction leave with the transaction before. So each
   transaction takes one round trip.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import redis.asyncio
from redis import exceptions

from authz.storage.streamed import packed, replies_of

Command = Sequence[Any]


class GuardedWrites:
    """A connection for such transactions: `async with GuardedWrites(...) as writes:`.

    watched: names that must not change between the questions and the transaction. questions: reads.
    is_allowed: returns whether their replies allow the transaction. It connects at the first one.
    `apply` raises the errors of redis-py, and OSError.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        watched: Sequence[str],
        questions: Sequence[Command],
        is_allowed: Callable[[Sequence[Any]], bool],
    ) -> None:
        self._pool: Any = client.connection_pool
        self._ask = [("WATCH", *watched), *questions]
        self._is_allowed = is_allowed
        self._answers: Sequence[Any] = ()
        self._connection: Any = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._connection is not None:
            await self._connection.disconnect(nowait=True)  # it watches, and replies may still come
            await self._pool.release(self._connection)

    async def apply(self, commands: Iterable[Command]) -> bool:
        """Apply the commands in one transaction. Return False if the answers do not allow it.

        Then nothing is written. Raises the error of the first command that the store refuses.
        """
        answers, self._answers = self._answers, ()  # after an error they are asked for again
        answers = answers or (await self._call(self._ask))[1:]
        transaction = [("MULTI",), *commands, ("EXEC",)]
        sent = [*transaction, *self._ask]
        while self._is_allowed(_raised(answers)):
            replies = await self._call(sent)
            done = _raised(replies[: len(transaction)])[-1]
            answers = replies[len(transaction) + 1 :]
            if done is not None:  # None: a watched name changed, so the answers count
                _raised(done)
                self._answers = answers
                return True
        return False

    async def _call(self, commands: Sequence[Command]) -> list[Any]:
        if self._connection is None:
            self._connection = await self._pool.get_connection()
        await self._connection.send_packed_command([b"".join(map(packed, commands))])
        return await replies_of(self._connection, len(commands))


def _raised(replies: Sequence[Any]) -> Sequence[Any]:
    """Return the replies. Raises the first of them that is an error."""
    for reply in replies:
        if isinstance(reply, exceptions.ResponseError):
            raise reply
    return replies
