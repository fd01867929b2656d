"""Whether a store without authz:meta is empty, or holds the rest of an installation's data.

The marker of a restore counts as data: the restore may still run, or it was interrupted. In both
cases only the restore of the same file may write authz:meta, because older versions of keys, or
half of them, would be trusted otherwise.
"""

import redis.asyncio

from authz.storage import schema
from authz.storage.replies import checked


def watched(names: schema.Names) -> tuple[str, ...]:
    """Return the names that an empty store does not have."""
    return (names.meta, names.restoring, names.seq, names.log, names.audit, names.keys)


async def remains(client: redis.asyncio.Redis, names: schema.Names) -> str:
    """Describe the data of a store without authz:meta, in one line with the remedy.

    Empty text for an empty store, and for one that has authz:meta.
    """
    present = [name for name in watched(names) if await checked(client.exists(name))]
    return describe(present, names) if present and names.meta not in present else ""


def describe(present: list[str], names: schema.Names) -> str:
    """Describe these names, of which there is at least one."""
    if names.meta not in present and names.restoring in present:
        return (
            "a restore was interrupted or is running: run `authz restore` again with the same "
            f"file, or empty the store first ({emptying(names)})"
        )
    return f"the store is not empty: it has {present[0]}; empty it first ({emptying(names)})"


def emptying(names: schema.Names) -> str:
    """Return the way to remove an installation's data."""
    if names.namespace:
        return f"delete every name that begins with {names.namespace}:authz:"
    return "FLUSHDB"
