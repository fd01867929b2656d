"""Checks of the rights of our user in the store: which commands it may run."""

from collections.abc import Awaitable, Callable
from typing import Any

from authz.core.finding import Finding, Level, ok
from authz.storage.inspection.store import Store
from authz.storage.permissions import by_hash, permissions
from authz.storage.replies import checked


async def serving(store: Store) -> Finding:
    """Check that this user may run the commands that every sidecar needs; failure if it may not.

    Raises Unavailable if the store refuses ACL DRYRUN.
    """
    found = permissions(store.names)
    needed = (*found.serving, *found.beating) if store.has_replicas else found.serving
    return await _permitted(store, "serving", needed, Level.FAIL)


async def counting(store: Store) -> Finding:
    """Check that this user may count limits; warning if not. Then each sidecar counts alone.

    Raises Unavailable if the store refuses ACL DRYRUN.
    """
    return await _permitted(store, "counting", permissions(store.names).counting, Level.WARN)


async def registering(store: Store) -> Finding:
    """Check that this user may write registry entries, which `--wait` needs; warning if not.

    Raises Unavailable if the store refuses ACL DRYRUN.
    """
    return await _permitted(store, "registering", permissions(store.names).registering, Level.WARN)


async def indexing(store: Store) -> Finding:
    """Check that this user may read the index of imported keys; warning if not.

    Raises Unavailable if the store refuses ACL DRYRUN.
    """
    return await _permitted(store, "indexing", permissions(store.names).indexing, Level.WARN)


async def changing(store: Store) -> Finding:
    """Check that this user may change keys; warning if not. A sidecar's user does not need that.

    Raises Unavailable if the store refuses ACL DRYRUN.
    """
    return await _permitted(store, "changing", permissions(store.names).changing, Level.WARN)


async def _permitted(
    store: Store, check: str, commands: tuple[tuple[str, ...], ...], level: Level
) -> Finding:
    ask: Callable[..., Awaitable[Any]] = store.client.execute_command
    user = await checked(ask("ACL", "WHOAMI"))
    for command in commands:
        reply = await checked(ask("ACL", "DRYRUN", user, *command))
        others = by_hash(command) if reply != "OK" else ()
        replies = [await checked(ask("ACL", "DRYRUN", user, *other)) for other in others]
        if reply != "OK" and set(replies) != {"OK"}:
            problem = f"user {user} may not {' '.join(command[:2])}"
            return Finding(level, check, problem, f"grant it: ACL SETUSER {user} ...")
    return ok(check, f"user {user} may run all commands")
