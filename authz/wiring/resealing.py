"""Composition root of `authz reseal`."""

from collections.abc import Callable, Sequence

from authz.core.records import KeyRecord
from authz.flows.by import By
from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.storage.endpoint import Client
from authz.storage.resealing import Resealed, Resealing, summed
from authz.storage.seals import seals_of
from authz.wiring.administration import keyring, our_parts
from authz.wiring.each_partition import in_each

__all__ = ["Resealed", "accept", "reseal"]


async def reseal(
    settings: Settings, progress: Callable[[Resealed], None], *, dry_run: bool
) -> Resealed:
    """Seal all records of the store and mark it, as `Resealing.run` does.

    Of several partitions one comes after the other, and each is marked when it is sealed.
    progress: gets the sum until then. Raises Unavailable before anything is written if a partition
    cannot be used, and the errors of `our_parts` and of `run`.
    """
    done: list[Resealed] = []

    async def run(client: Client) -> None:
        work = _resealing(client)
        done.append(await work.run(lambda found: progress(summed([*done, found])), dry_run=dry_run))

    async with our_parts(settings, keyring(settings)) as parts:
        await in_each(parts, run)
        return summed(done)


async def accept(settings: Settings, kids: Sequence[str], actor: str, note: str) -> list[KeyRecord]:
    """Seal these records as they are, and return them. actor, note: for the audit trail.

    Raises the errors of `our_parts` and of `Resealing.accept`; keys before the bad one are sealed.
    """
    async with our_parts(settings, keyring(settings)) as parts:
        now, by = SystemClock().wall_ms(), By(actor, note)
        sealed = []
        for kid in kids:
            at = await parts.places.of(kid)
            work = _resealing(parts.client(at))
            sealed.append(await work.accept(parts.stores[at], kid, by.author(), now))
        return sealed


def _resealing(client: Client) -> Resealing:
    seals = seals_of(client)
    assert seals is not None  # noqa: S101  `endpoint` gives seals to each client
    return Resealing(client, seals)
