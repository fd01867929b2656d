"""Whether a store without authz:meta is empty, or holds the rest of an installation's data.

The marker of a restore counts as data: the restore may still run, or it was interrupted. In both
cases only the restore of the same file may write authz:meta, because older versions of keys, or
half of them, would be trusted otherwise.
"""

import redis.asyncio

from authz.storage import schema
from authz.storage.replies import checked


def watched(names: schema.Names) -> tuple[str, ...]:
    """Return the names of the store's main data.

    If none of them exists, the store counts as empty.
    """
    return (names.meta, names.restoring, names.seq, names.log, names.audit, names.keys)


async def remains(client: redis.asyncio.Redis, names: schema.Names) -> str:
    """Describe the data of a store without authz:meta, in one line with the remedy.

    Returns "" if the store is empty, and also if it has authz:meta. Raises Unavailable if the store
    cannot be used.
    """
    present = [name for name in watched(names) if await checked(client.exists(name))]
    return describe(present, names) if present and names.meta not in present else ""


def describe(present: list[str], names: schema.Names) -> str:
    """Return one line with the problem and the remedy for the names that exist in the store.

    `present` must not be empty. A restore marker without authz:meta is described as an interrupted
    restore.
    """
    if names.meta not in present and names.restoring in present:
        return (
            "a restore was interrupted or is running: run `authz restore` again with the same "
            f"file, or empty the store first ({emptying(names)})"
        )
    if names.meta not in present and names.keys in present:
        return (
            f"the store is not empty: it lost {names.meta}, and has its keys; save them with "
            f"`authz backup`, empty it ({emptying(names)}), and restore that file"
        )
    if names.meta in present:
        return (
            f"the store is not empty: it has the {names.meta} of an installation; is redis.url the "
            "store to restore? If so, save its keys with `authz backup` and empty it "
            f"({emptying(names)})"
        )
    return f"the store is not empty: it has {present[0]}; empty it first ({emptying(names)})"


def emptying(names: schema.Names) -> str:
    """Return the way to remove an installation's data, as text for an operator.

    Without a namespace it is FLUSHDB, which empties the whole database, or that of one node. With
    several partitions all of them have to be empty for a restore.
    """
    if names.is_clustered and not names.namespace:
        node = "each primary" if names.partitions > 1 else "the node that owns its slot"
        return f"FLUSHDB on {node}"
    if names.namespace:
        return f"delete every name that begins with {names.namespace}:authz:"
    return "FLUSHDB"
