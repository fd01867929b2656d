"""Writing records again, with a seal or in the other form, while changes of keys go on."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis.asyncio

from authz.core.seals import SEAL, VERSION
from authz.storage import compact, schema, stored_records
from authz.storage.field_codec import as_text
from authz.storage.replies import checked
from authz.storage.scripts import script

REWRITE: Final = script("change_steps", "rewrite_record")
REWRITE_SHA: Final = hashlib.sha1(REWRITE.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A record that is to be written again. version, change: of the stored record.

    texts: fields and values, or the one text of a compact record.
    """

    kid: str
    version: str
    change: str
    texts: Sequence[str]


def with_seal(kid: str, stored: Any, fields: Mapping[str, str], seal: str) -> Rewrite:
    """Return the record with another seal, in the same form. stored: the reply of `read`.

    fields: those of `stored`. Raises ValueError if they have no compact form.
    """
    if isinstance(stored, str):
        texts = [as_text(compact.pack({**fields, SEAL: seal}))]
    else:
        texts = [SEAL, seal]
    return _rewrite(kid, stored, fields, texts)


def in_other_form(kid: str, stored: Any, fields: Mapping[str, str]) -> Rewrite:
    """Return the record with the same fields, in the other form. See `with_seal`."""
    if isinstance(stored, str):
        texts = [text for pair in fields.items() for text in pair]
    else:
        texts = [as_text(compact.pack(fields))]
    return _rewrite(kid, stored, fields, texts)


def _rewrite(kid: str, stored: Any, fields: Mapping[str, str], texts: Sequence[str]) -> Rewrite:
    change = fields.get(compact.CHANGE_ID, "")
    if isinstance(stored, str):
        change = as_text(compact.change_mark(change))
    return Rewrite(kid, fields[VERSION], change, texts)


async def rewrite(client: redis.asyncio.Redis, wanted: Sequence[Rewrite]) -> int:
    """Write these records and return how many were written. One that changed meanwhile is left.

    Raises Unavailable if the store fails; some may have been written.
    """
    names = schema.names_of(client)
    await checked(client.script_load(REWRITE))
    pipeline = client.pipeline(transaction=False)
    for one in wanted:
        name = names.key(one.kid)
        pipeline.evalsha(REWRITE_SHA, 1, name, one.version, one.change, *one.texts)
    replies = await checked(pipeline.execute(raise_on_error=False))
    stored_records.refuse_errors(replies)  # redis-py's error of a pipeline quotes the record
    return int(sum(replies))
