"""StoredApplied: the fields of keys as a file last declared them, in one hash of the store."""

import json
from collections.abc import Mapping
from typing import Any, cast

import redis.asyncio

from authz.core.errors import Unreadable
from authz.core.merging import Applied
from authz.storage import schema
from authz.storage.replies import checked


class StoredApplied:
    """An AppliedStore over redis-py. The field of a key is its kid, the value a JSON object."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._name = schema.names_of(client).applied

    async def load(self) -> dict[str, Applied]:
        """Return all fields by kid. Raises Unavailable, and Unreadable if one is garbled."""
        found = cast("dict[str, str]", await checked(self._client.hgetall(self._name)))
        return {kid: _applied(kid, text) for kid, text in found.items()}

    async def save(self, found: Mapping[str, Applied]) -> None:
        """Store the fields of these keys, by kid; others stay. Raises Unavailable."""
        texts = {
            kid: json.dumps({"version": one.version, "ref": one.ref, "fields": dict(one.fields)})
            for kid, one in found.items()
        }
        if texts:
            await checked(self._client.hset(self._name, mapping=cast("Any", texts)))


def _applied(kid: str, text: str) -> Applied:
    try:
        found = json.loads(text)
        return Applied(int(found["version"]), dict(found["fields"]), str(found["ref"]))
    except (ValueError, TypeError, LookupError, RecursionError):
        raise Unreadable(f"the applied fields of {kid} are garbled") from None
