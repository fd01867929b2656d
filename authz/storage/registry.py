"""The registry of sidecars: `StoredSidecars` reads the entry of each."""

import json
from typing import Any, Final, get_type_hints

import redis.asyncio
from redis import exceptions

from authz.core.errors import Unavailable
from authz.core.fields import MAX_OUTAGE_GRACE_MS
from authz.core.sidecars import Heard, Sidecar
from authz.storage import encoding, schema
from authz.storage.link import refusal

KEPT_MS: Final = MAX_OUTAGE_GRACE_MS + 3_600_000  # of an entry: longer than it can matter
MAX_NUMBER: Final = 10**encoding.MAX_DIGITS


class StoredSidecars:
    """A SidecarRegistry over redis-py."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._names = schema.names_of(client)

    async def find(self) -> tuple[int, list[Heard]]:
        """Return the last change's number (0 if none), and the sidecars sorted by instance.

        Entries that are gone or unreadable are left out. Raises Unavailable if the store fails or
        the number is garbled.
        """
        try:
            client: Any = self._client
            instances = await client.zrange(self._names.sidecars, 0, -1)
            pipeline = client.pipeline(transaction=False)
            pipeline.get(self._names.seq)
            for instance in instances:
                pipeline.get(self._names.sidecar(instance))
                pipeline.pttl(self._names.sidecar(instance))
            seq, *replies = await pipeline.execute()
            found = [_entry(*pair) for pair in zip(replies[::2], replies[1::2], strict=True)]
            return encoding.number(self._names.seq, seq or "0"), sorted(
                filter(None, found), key=_by_name
            )
        except (exceptions.RedisError, OSError, ValueError) as cause:  # ValueError: a garbled seq
            raise Unavailable(f"the store cannot be used: {refusal(cause)}") from None


async def highest_seen(client: redis.asyncio.Redis) -> int:
    """Return the highest change that a registered sidecar has seen in any store.

    0 if there is none. Sidecars write their entries also into a store that was emptied. Raises
    Unavailable.
    """
    _, found = await StoredSidecars(client).find()
    return max((heard.sidecar.seen for heard in found), default=0)


def _entry(text: str | None, left_ms: int) -> Heard | None:
    """Return the entry, or None if it is absent or this version cannot read it.

    text: JSON. left_ms: remaining time to live. The age of the entry is KEPT_MS minus that.
    """
    try:
        found = _OPTIONAL | json.loads(text or "")
        sidecar = Sidecar(**{name: _checked(found[name], kind) for name, kind in _KINDS.items()})
    except (ValueError, TypeError, KeyError):
        return None
    return Heard(sidecar, max(0, KEPT_MS - left_ms))


def _checked(value: Any, kind: Any) -> Any:
    is_unprintable = isinstance(value, str) and not value.isprintable()
    is_huge = isinstance(value, int) and not 0 <= value <= MAX_NUMBER
    if not isinstance(value, kind) or is_unprintable or is_huge:
        raise TypeError("not a field of a sidecar's entry")
    return value


_KINDS: Final = get_type_hints(Sidecar)
_OPTIONAL: Final = {
    "seen": 0,
    "settings": "",
    "settings_at": 0,
    "charges": "",
    "issued": 0,
}  # of newer versions


def _by_name(heard: Heard) -> str:
    return heard.sidecar.instance
