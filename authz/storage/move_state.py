"""The state of the move of a store with one partition, by two reads."""

import redis.asyncio

from authz.storage import schema
from authz.storage.moves import Move, move_in
from authz.storage.stored_records import is_wrong_type, refuse_errors, replies


async def move_state(client: redis.asyncio.Redis) -> tuple[Move | None, bool]:
    """Return the move that authz:meta names, and whether the store takes no changes.

    client: of the store as one with a single partition. Raises Unavailable.
    """
    names = schema.names_of(client)
    seq, found = await replies(client, [("GET", names.seq), ("HGETALL", names.meta)])
    refuse_errors([found])
    if not is_wrong_type(seq):
        refuse_errors([seq])
    return move_in(found), is_wrong_type(seq)
