"""Composition root of `authz compact`."""

from collections.abc import Callable

from authz.core.errors import Conflict
from authz.settings.model import Settings
from authz.storage.compacting import Compacted, Compacting
from authz.wiring.administration import keyring, our_store

__all__ = ["Compacted", "compact"]


async def compact(
    settings: Settings,
    progress: Callable[[Compacted], None],
    *,
    to_hashes: bool,
    dry_run: bool,
    is_forced: bool,
) -> Compacted:
    """Write all records in the compact form, or as hashes again, as `Compacting.run` does.

    Raises Conflict if a sidecar does not read compact records, unless `is_forced`; and the errors
    of `our_store` and of `run`.
    """
    async with our_store(settings, keyring(settings)) as (client, _):
        work = Compacting(client, to_hashes=to_hashes)
        older = [] if to_hashes or is_forced else await work.older_sidecars()
        if older:
            raise Conflict(
                f"{len(older)} sidecars do not read compact records, such as {older[0]}; update "
                "them first: `authz sidecars` shows all"
            )
        return await work.run(progress, dry_run=dry_run)
