"""Check of moved keys, over all partitions: entries lead to keys, and keys have their entries."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from authz.core.errors import Unavailable, Unreadable
from authz.core.finding import Finding, fail, ok, warn
from authz.core.partitions import Partitions
from authz.storage import schema, tombstones
from authz.storage.inspection.store import Store
from authz.storage.listing import StoredIndex
from authz.storage.moved import StoredMoved
from authz.storage.replies import checked

SAMPLE: Final = 200  # entries, and keys, of each partition
ADVICE: Final = "restore a backup that was made before this entry was damaged or lost; DEL a copy"


async def moved(stores: Sequence[Store]) -> Finding | None:
    """Return a finding about moved keys; None if the store has none by its authz:meta.

    stores: of all partitions, in order. Up to SAMPLE (200) entries and keys of each are checked.
    Failure for an entry that is spoiled, is of a kid that leads elsewhere, or names a partition
    that never had the key, and for a key that no entry leads to. Warning if that cannot be read.
    """
    try:
        metas = [await checked(store.client.hgetall(store.names.meta)) for store in stores]
        if not any(schema.META_MOVED in found for found in metas):
            return None
        number = 0
        for store in stores:
            found = await _entries(store)
            number += len(found)
            for problem in (await _lost(found, store, stores), await _unnamed(store, stores)):
                if problem:
                    return fail("moved", f"partition {store.names.partition}: {problem}", ADVICE)
    except Unreadable as cause:
        return fail("moved", f"{cause}; it gets 503", ADVICE)
    except Unavailable as cause:
        return warn("moved", f"cannot be checked: {cause}", "check it by hand")
    return ok("moved", f"{number} entries of moved keys lead to their keys")


async def _entries(store: Store) -> dict[str, int]:
    """Return the first entries of a partition. Raises Unreadable, Unavailable."""
    found: dict[str, int] = {}
    async for page in StoredMoved(store.client).all():
        found |= dict(list(page.items())[: SAMPLE - len(found)])
        if len(found) >= SAMPLE:
            break
    return found


async def _lost(found: dict[str, int], store: Store, stores: Sequence[Store]) -> str:
    """Return the problem of the first entry beside a copy, or that leads to no key of any time."""
    of = Partitions(len(stores)).of
    for kid, at in found.items():
        if of(kid) != store.names.partition:
            return f"it has an entry of {kid}, whose kid leads to partition {of(kid)}"
        if await checked(store.client.exists(store.names.key(kid))):
            return f"it has a copy of the key {kid}, which lies in partition {at}; it gets 503"
        home, gone = stores[at], tombstones.of_kid(kid)
        exists = await checked(home.client.exists(home.names.key(kid)))
        if not exists and not await _is_gone(home, gone):
            return f"its entry of {kid} names partition {at}, which has no such key"
    return ""


async def _is_gone(home: Store, gone: tombstones.Tombstone) -> bool:
    name = home.names.gone(gone.bucket)
    return bool(await checked(home.client.sismember(name, str(gone.member))))


async def _unnamed(store: Store, stores: Sequence[Store]) -> str:
    """Return the problem of the first key that no entry leads to."""
    of, own = Partitions(len(stores)).of, store.names.partition
    kids = [one.kid for one in await StoredIndex(store.client).kids(None, None, SAMPLE)]
    for kid in kids:
        if of(kid) == own:
            continue
        at: int | None = None
        with suppress(Unreadable):
            (at,) = await StoredMoved(stores[of(kid)].client).find([kid])
        if at != own:
            return f"it has the key {kid}, and partition {of(kid)} does not name it; it gets 401"
    return ""
