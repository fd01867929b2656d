"""Composition root of `authz compact`."""

from collections.abc import Callable

from authz.core.errors import Conflict
from authz.settings.model import Settings
from authz.storage.compacting import Compacted, Compacting, summed
from authz.storage.endpoint import Client
from authz.wiring.administration import keyring, our_parts
from authz.wiring.each_partition import in_each

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

    Of several partitions one comes after the other. progress: gets the sum until then. Raises
    Conflict if a sidecar does not read compact records, unless `is_forced`; Unavailable before
    anything is written if a partition cannot be used; and the errors of `our_parts` and of `run`.
    """
    done: list[Compacted] = []

    async def find_older(client: Client) -> list[str]:
        return await Compacting(client).older_sidecars()

    async def run(client: Client) -> None:
        work = Compacting(client, to_hashes=to_hashes)
        done.append(await work.run(lambda found: progress(summed([*done, found])), dry_run=dry_run))

    async with our_parts(settings, keyring(settings)) as parts:
        lists = [] if to_hashes or is_forced else await in_each(parts, find_older)
        older = list(dict.fromkeys(instance for one in lists for instance in one))
        if older:
            raise Conflict(
                f"{len(older)} sidecars do not read compact records, such as {older[0]}; update "
                "them first: `authz sidecars` shows all"
            )
        await in_each(parts, run)
        return summed(done)
