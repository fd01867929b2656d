"""The number of partitions of the store, where the settings leave it to the store.

Rules:
1. `redis.partitions` that is not set means as the store says: 1 for one that was not set up.
2. 8 or 48 mean this number. A store with another one is refused.
3. 1 means one partition. A store that was moved from one partition to several is accepted, with a
   warning: the settings of before the move go on working.
"""

import asyncio
import logging
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Final

from authz.core.errors import Unavailable
from authz.core.partitions import COUNTS
from authz.process.interruption import raise_if_interrupted
from authz.settings.model import Settings
from authz.storage import schema
from authz.storage.endpoint import Client
from authz.storage.moves import FIELDS, count_in, move_in
from authz.storage.refusals import OTHER_REPLIES
from authz.storage.replies import checked
from authz.storage.schema import names_of
from authz.wiring.administration import partitions

log = logging.getLogger("authz.store")

LOOK_SECONDS: Final = 1.0  # between two looks at the number of partitions
PATIENCE: Final = 5.0  # seconds for a reply
START_PATIENCE: Final = 0.5  # the same, for a sidecar that starts


def sized(settings: Settings, count: int) -> Settings:
    """Return these settings with this number of partitions."""
    if settings.redis.partitions == count:
        return settings
    return settings.changed(redis=settings.redis.changed(partitions=count))


def warn_of_old_setting(count: int) -> None:
    """Log that `redis.partitions` is 1, and the store was moved to `count` partitions."""
    log.warning(
        "redis.partitions is 1, the store was moved to %d partitions: set it to %d, or remove it",
        count,
        count,
    )


async def resolved(settings: Settings, patience: float = PATIENCE) -> Settings:
    """Return these settings with the number of partitions of the store, by the rules above.

    patience: seconds for each connect and each reply. Raises BadInput for invalid redis settings,
    Unavailable if the store has to be asked and does not answer.
    """
    given = settings.redis.partitions
    if given not in (None, 1):
        return settings
    where = partitions(sized(settings, 1))[0]
    async with aclosing(where.client(patience)) as client:
        found = count_in(await _fields(client)) or 1
    if given is None or found == 1:
        return sized(settings, found)
    if not await _was_moved(settings, found, patience):
        return settings
    warn_of_old_setting(found)
    return sized(settings, found)


async def first_count(settings: Settings) -> tuple[int, bool]:
    """Return the number of partitions with which a sidecar starts, and whether it is certain.

    It waits at most about a second. If the store does not answer, the snapshot tells how many
    there were. Raises BadInput.
    """
    try:
        return (await resolved(settings, START_PATIENCE)).redis.count, True
    except Unavailable:
        return count_of_snapshot(settings.cache.snapshot) or settings.redis.count, False


def count_of_snapshot(file: Path | None) -> int | None:
    """Return the number of partitions of the newest snapshot; None if there is none."""
    times: dict[int, float] = {}
    for count in COUNTS:
        with suppress(OSError):
            if file is not None:
                times[count] = snapshot_file(file, 0, count).stat().st_mtime
    return max(times, key=times.__getitem__) if times else None


def snapshot_file(file: Path, partition: int, count: int) -> Path:
    """Return the file of a partition: with several, one such as `FILE.3-of-8`."""
    return file if count == 1 else file.with_name(f"{file.name}.{partition}-of-{count}")


async def resolved_if_possible(settings: Settings, patience: float = PATIENCE) -> Settings:
    """Return the settings of `resolved`; if the store does not answer, with one partition.

    What works with the store then fails by itself, or follows later. Raises BadInput, and
    CancelledError after Ctrl-C.
    """
    try:
        found = await resolved(settings, patience)
    except Unavailable:
        found = sized(settings, settings.redis.count)
    raise_if_interrupted()
    return found


async def until_moved(given: Settings, used: Settings) -> Settings:
    """Return other settings than `used` once the store was moved to more partitions.

    given: the settings of the operator. Waits for ever if they, or `used`, name several. While the
    store cannot be asked, nothing changes.
    """
    if given.redis.partitions not in (None, 1) or used.redis.count > 1:
        await asyncio.Event().wait()
    async with aclosing(partitions(used)[0].client(PATIENCE)) as client:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            with suppress(Unavailable):
                move = move_in(await _fields(client))
                if move is None or not move.is_done:
                    continue
                if given.redis.partitions is None:
                    return sized(given, move.count)
                if await _was_moved(given, move.count, PATIENCE):
                    warn_of_old_setting(move.count)
                    return sized(given, move.count)


async def _fields(client: Client) -> dict[str, str]:
    """Return the fields of authz:meta about partitions. Raises Unavailable."""
    texts = await checked(client.hmget(names_of(client).meta, list(FIELDS)))
    if len(texts) != len(FIELDS):
        raise Unavailable(f"its reply to HMGET is none of Redis or Valkey{OTHER_REPLIES}")
    return {name: text for name, text in zip(FIELDS, texts, strict=True) if text is not None}


async def _was_moved(settings: Settings, count: int, patience: float) -> bool:
    """Return whether the store had one partition once. Raises Unavailable."""
    where = partitions(sized(settings, count))[0]
    async with aclosing(where.client(patience)) as client:
        found = await checked(client.hget(where.names.meta, schema.META_MOVED))
    return found is not None
