"""Stored records in both forms: hashes of fields, and compact texts. See compact.py.

`authz compact` sets a mark in authz:meta. From then on changes write compact records, and the
records of the store are mixed until a second mark says that all are compact.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import redis.asyncio
from redis import exceptions

from authz.core.errors import Unavailable
from authz.storage import compact, encoding, schema
from authz.storage.field_codec import as_bytes
from authz.storage.meta import Form, form_of
from authz.storage.replies import checked, refuse_moving, unusable

PAGE: Final = 200  # records in one round trip


def is_wrong_type(reply: Any) -> bool:
    """Return whether a reply is the error about a key of another type."""
    return isinstance(reply, Exception) and str(reply).startswith("WRONGTYPE")


def is_absent(stored: Any) -> bool:
    """Return whether a reply to GET or to HGETALL says that there is no record.

    An empty text is a record, a damaged one.
    """
    return stored is None or stored == {}


def fields_of(kid: str, stored: Any) -> Mapping[str, str]:
    """Return the fields of a stored record, empty if there is none.

    stored: the reply to GET or to HGETALL. Raises Unreadable for a damaged compact record.
    """
    if isinstance(stored, str):
        return compact.unpack(kid, as_bytes(stored))
    return stored or {}


def add_reads(pipeline: Any, name: str) -> None:
    """Add the reads of a record to a pipeline: `joined` makes one reply of their two."""
    pipeline.get(name)
    pipeline.hgetall(name)


def joined(replies: Sequence[Any]) -> list[Any]:
    """Return for each record a reply: text, fields, None without a record, or the error."""
    pairs = zip(replies[::2], replies[1::2], strict=True)
    return [fields if is_wrong_type(text) else text for text, fields in pairs]


async def read(client: redis.asyncio.Redis, kids: Sequence[str]) -> list[Any]:
    """Return for each kid its stored record for `fields_of`, or the store's error, as a value.

    A record that changes its form meanwhile is read again. Raises Unavailable.
    """
    found = await _read(client, kids)
    again = [place for place, reply in enumerate(found) if is_wrong_type(reply)]
    if again:
        replies = await _read(client, [kids[place] for place in again])
        for place, reply in zip(again, replies, strict=True):
            found[place] = reply
    return found


async def _read(client: redis.asyncio.Redis, kids: Sequence[str]) -> list[Any]:
    names = schema.names_of(client)
    found: list[Any] = []
    for start in range(0, len(kids), PAGE):
        page = kids[start : start + PAGE]
        commands = [(word, names.key(kid)) for kid in page for word in ("GET", "HGETALL")]
        found += joined(await replies(client, commands))
    return found


async def replies(
    client: redis.asyncio.Redis, commands: Sequence[tuple[str, str]], advice: str = ""
) -> list[Any]:
    """Return the replies to these reads, errors included, in one round trip.

    They are sent once more if another node of a cluster has become the owner. Raises Unavailable.
    """
    found: list[Any] = []
    for _ in range(2):
        async with client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            found = await checked(pipeline.execute(raise_on_error=False), advice)
        if not any(isinstance(reply, exceptions.MovedError) for reply in found):
            break
    return found


def refuse_errors(replies: Sequence[Any], advice: str = "") -> None:
    """Raise Unavailable if one of the replies is an error, with the text of `checked`."""
    for reply in replies:
        if isinstance(reply, exceptions.RedisError):
            raise unusable(reply, advice)


async def last_change_and_form(client: redis.asyncio.Redis, advice: str = "") -> tuple[int, Form]:
    """Return the number of the store's last change, or 0, and the form of its records.

    Raises Unavailable, also if the number is garbled.
    """
    names = schema.names_of(client)
    commands = [("GET", names.seq), ("HGETALL", names.meta)]
    seq, found = await replies(client, commands, advice)
    if is_wrong_type(seq):
        refuse_moving(found)
    refuse_errors([seq, found], advice)
    try:
        return encoding.number(names.seq, seq or "0"), form_of(found.get(schema.META_COMPACT))
    except ValueError as cause:
        raise Unavailable(str(cause)) from None
