"""The registry of sidecars: `StoredSidecars` reads the entry of each."""

import json
from typing import Any, Final, get_type_hints

import redis.asyncio
from redis import exceptions

from authz.core.errors import BadInput
from authz.core.fields import MAX_OUTAGE_GRACE_MS
from authz.core.ports import Clock
from authz.core.seals import Seal
from authz.core.sidecars import MAX_LEASE_MS, Heard, Sidecar, doubtful
from authz.process.clock import SystemClock
from authz.storage import encoding, schema
from authz.storage.replies import Garbled, refuse_moving, unusable
from authz.storage.seals import seals_of
from authz.storage.stored_records import is_wrong_type, refuse_errors

KEPT_MS: Final = MAX_OUTAGE_GRACE_MS + 3_600_000  # of an entry: longer than it can matter
MAX_NUMBER: Final = 10**encoding.MAX_DIGITS

MAX_ENTRIES: Final = 10_000
MAX_NAME: Final = 300  # characters of an instance
REMOVED: Final = "its entry was removed"
MISSING: Final = "fewer sidecars are registered than fleet.sidecars says"


class StoredSidecars:
    """A SidecarRegistry over redis-py.

    The endpoint of the client says how many sidecars there are at least. For each one that is
    missing, `find` adds an entry that proves nothing. clock: for the age of removed entries.
    """

    def __init__(self, client: redis.asyncio.Redis, clock: Clock | None = None) -> None:
        self._client = client
        self._names = schema.names_of(client)
        self._seals = seals_of(client)
        self._expected = expected_of(client)
        self._clock = clock or SystemClock()

    async def find(self) -> tuple[int, list[Heard]]:
        """Return the last change's number (0 if none), and the sidecars sorted by instance.

        An entry that is garbled, has a wrong seal or absurd values, or was removed, is returned
        with its `doubt`. It proves nothing. Looks at the 10,000 newest. Raises Unavailable if the
        store fails, and Garbled if the number is.
        """
        try:
            client: Any = self._client
            index = await client.zrange(self._names.sidecars, -MAX_ENTRIES, -1, withscores=True)
            pipeline = client.pipeline(transaction=False)
            pipeline.get(self._names.seq)
            pipeline.hgetall(self._names.meta)
            for instance, _ in index:
                pipeline.get(self._names.sidecar(instance))
                pipeline.pttl(self._names.sidecar(instance))
            seq, meta, *replies = await pipeline.execute(raise_on_error=False)
            if is_wrong_type(seq):
                refuse_moving(meta)
            refuse_errors([seq, meta, *replies])
            last = encoding.number(self._names.seq, seq or "0")
        except (exceptions.RedisError, OSError) as cause:
            raise unusable(cause) from None
        except ValueError as cause:
            raise Garbled(f"the store cannot be used: {cause}") from None
        if self._seals is not None:
            self._seals.note(meta)
        pairs = zip(index, replies[::2], replies[1::2], strict=True)
        found = [self._heard(one, text, left_ms) for one, text, left_ms in pairs]
        known = sorted(filter(None, found), key=_by_name)
        alive = sum(not one.doubt and one.silent_ms < one.reach_ms() for one in known)
        missing = range(alive + 1, self._expected + 1)
        return last, known + [doubtful(f"(sidecar {at})", MISSING) for at in missing]

    def _heard(self, member: tuple[str, float], text: str | None, left_ms: int) -> Heard | None:
        """Return the entry of one member of the index; None if it has expired.

        member: the instance, and when it wrote last by its own clock. left_ms: remaining time to
        live. From it follows how long ago the entry was written.
        """
        instance, written_at = member
        name = instance if instance.isprintable() and len(instance) <= MAX_NAME else "(garbled)"
        if text is None:
            is_recent = self._clock.wall_ms() - written_at < MAX_OUTAGE_GRACE_MS
            return doubtful(name, REMOVED) if is_recent else None
        try:
            written = json.loads(text)
            found = _OPTIONAL | written
            if doubt := self._doubt(written):  # the seal covers the members that its writer knew
                return doubtful(name, doubt)
            heard = _entry(found, left_ms)
        except (ValueError, TypeError, KeyError, RecursionError):
            return doubtful(name, "its entry cannot be read")
        if heard.sidecar.instance != instance:
            return doubtful(name, "its entry is of another sidecar")
        return heard

    def _doubt(self, found: dict[str, Any]) -> str:
        """Return why the seal of an entry is not good; "" if it is.

        An entry without a seal is good unless seals are required. If no pepper can be read, all
        entries are good.
        """
        if self._seals is None:
            return ""
        try:
            result = self._seals.entries.check(found)
        except BadInput:  # no pepper can be read, such as before `authz init`
            return ""
        if result is Seal.ABSENT and not self._seals.is_required:
            return ""
        return _DOUBTS.get(result, "")


def expected_of(client: object) -> int:
    """Return how many sidecars there are at least, as Endpoint.client set it on a client; or 0."""
    return getattr(client, "sidecars", 0)


async def highest_seen(client: redis.asyncio.Redis) -> int:
    """Return the highest change that a registered sidecar has seen in any store.

    0 if there is none. Sidecars write their entries also into a store that was emptied. Raises
    Unavailable.
    """
    _, found = await StoredSidecars(client).find()
    return max((heard.sidecar.seen for heard in found), default=0)


def _entry(found: dict[str, Any], left_ms: int) -> Heard:
    """Return the entry. Raises KeyError or TypeError if a member is missing or out of range."""
    sidecar = Sidecar(**{name: _checked(found[name], kind) for name, kind in _KINDS.items()})
    if sidecar.lease_ms > MAX_LEASE_MS or sidecar.grace_ms > MAX_OUTAGE_GRACE_MS:
        raise TypeError("not a lease and a grace of a sidecar")
    return Heard(sidecar, max(0, KEPT_MS - left_ms))


def _checked(value: Any, kind: Any) -> Any:
    is_unprintable = isinstance(value, str) and not value.isprintable()
    is_huge = isinstance(value, int) and not 0 <= value <= MAX_NUMBER
    if not isinstance(value, kind) or is_unprintable or is_huge:
        raise TypeError("not a field of a sidecar's entry")
    return value


_DOUBTS: Final = {
    Seal.ABSENT: "its entry has no seal",
    Seal.WRONG: "its entry has a wrong seal",
    Seal.UNKNOWN: "its entry is sealed with another pepper",
}
_KINDS: Final = get_type_hints(Sidecar)
_OPTIONAL: Final = {
    "seen": 0,
    "settings": "",
    "settings_at": 0,
    "charges": "",
    "issued": 0,
    "reads_compact": False,
}  # of newer versions


def _by_name(heard: Heard) -> str:
    return heard.sidecar.instance
