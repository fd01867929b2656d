"""Composition root of `authz reseal`."""

from collections.abc import Callable, Sequence

from authz.core.records import KeyRecord
from authz.flows.by import By
from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.storage.endpoint import Client
from authz.storage.resealing import Resealed, Resealing
from authz.storage.seals import seals_of
from authz.wiring.administration import keyring, our_store

__all__ = ["Resealed", "accept", "reseal"]


async def reseal(
    settings: Settings, progress: Callable[[Resealed], None], *, dry_run: bool
) -> Resealed:
    """Seal all records of the store and mark it, as `Resealing.run` does.

    Raises the errors of `our_store` and of `run`.
    """
    async with our_store(settings, keyring(settings)) as (client, _):
        return await _resealing(client).run(progress, dry_run=dry_run)


async def accept(settings: Settings, kids: Sequence[str], actor: str, note: str) -> list[KeyRecord]:
    """Seal these records as they are, and return them. actor, note: for the audit trail.

    Raises the errors of `our_store` and of `Resealing.accept`; keys before the bad one are sealed.
    """
    async with our_store(settings, keyring(settings)) as (client, keys):
        work, now, by = _resealing(client), SystemClock().wall_ms(), By(actor, note)
        return [await work.accept(keys, kid, by.author(), now) for kid in kids]


def _resealing(client: Client) -> Resealing:
    seals = seals_of(client)
    assert seals is not None  # noqa: S101  `endpoint` gives seals to each client
    return Resealing(client, seals)
