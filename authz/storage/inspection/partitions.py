"""Inspection of a store with several partitions: each check is made in each of them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Final

from authz.core.errors import Unavailable
from authz.core.finding import Finding, Level, fail, ok, warn
from authz.storage.inspection.checks import Check, checks_of, made, reached
from authz.storage.inspection.moved import moved
from authz.storage.inspection.store import Store
from authz.storage.signpost import Signpost

BY_HARM: Final = (Level.FAIL, Level.WARN, Level.OK)


async def inspect_partitions(
    stores: Sequence[Store], signpost: Signpost, given: int | None
) -> AsyncIterator[Finding]:
    """Yield a finding for each check: the worst of all partitions, which it names.

    stores: of each partition, in order. given: their number by the settings; None: as the store
    says. A partition that cannot be reached is a failure, and the
    others are inspected all the same.
    """
    try:
        await signpost.verify()
    except Unavailable as cause:
        problem, _, advice = str(cause).partition("; ")
        yield fail("partitions", problem, advice)
    else:
        count = len(stores)
        if given in (None, count):
            yield ok("partitions", f"{count}, as in redis.partitions" if given else str(count))
        else:
            old = f"the store was moved to {count}, redis.partitions is {given}"
            yield warn("partitions", old, f"set redis.partitions to {count}, or remove it")
    answers = await asyncio.gather(*map(reached, stores))
    lost = {at: one for at, one in enumerate(answers) if one is not None}
    if lost:
        yield worst(lost)
    numbered = {at: store for at, store in enumerate(stores) if at not in lost}
    for check in checks_of(stores[0]) if numbered else ():
        yield await _everywhere(check, numbered)
    if not lost and (finding := await moved(stores)):
        yield finding


async def _everywhere(check: Check, stores: dict[int, Store]) -> Finding:
    found = await asyncio.gather(*(made(check, store) for store in stores.values()))
    return worst(dict(zip(stores, found, strict=True)))


def worst(found: dict[int, Finding]) -> Finding:
    """Return one finding for those of several partitions, by number; at least one.

    It is the first of the worst ones. Its text names the partition, and how many are as bad.
    """
    level = next(level for level in BY_HARM if level in {one.level for one in found.values()})
    at, first = next((at, one) for at, one in found.items() if one.level is level)
    alike = sum(one.level is level for one in found.values())
    if level is Level.OK:
        return replace(first, found=f"in all partitions; in {at}: {first.found}")
    others = f", and {alike - 1} other partitions" if alike > 1 else ""
    return replace(first, found=f"partition {at}{others}: {first.found}")
