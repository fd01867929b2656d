"""Inspections of a store, as `authz doctor` makes them."""

from contextlib import aclosing

from authz.core.finding import Finding
from authz.storage.inspection.checks import inspect
from authz.storage.inspection.store import Store
from tests.support.fakes import make_keyring
from tests.support.real import RealClock

DEADLINE = 0.05


def make_store(client, **overrides) -> Store:
    """Return a Store with our peppers and our clock."""
    about = {"fingerprints": make_keyring().fingerprints, "deadline": DEADLINE}
    return Store(client, **about | {"wall_ms": RealClock().wall_ms} | overrides)


async def report(endpoint, **overrides) -> dict[str, Finding]:
    """Return every finding by the name of its check."""
    async with aclosing(endpoint.client()) as client:
        found = [finding async for finding in inspect(make_store(client, **overrides))]
    return {finding.check: finding for finding in found}
