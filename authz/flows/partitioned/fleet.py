"""Sidecars and several partitions: each partition has a registry with an entry of each sidecar."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from authz.core.admin_ports import SidecarRegistry
from authz.core.records import KeyRecord
from authz.core.sidecars import Confirmation, Heard, Outstanding, doubtful
from authz.flows.confirmation import Extent, FleetWait
from authz.flows.partitioned.asking import ask, ask_all
from authz.flows.partitioned.places import Places


class PartitionedWait:
    """A FleetWait: a change is confirmed by the registry of its partition."""

    def __init__(self, places: Places, parts: Sequence[FleetWait]) -> None:
        self._places = places
        self._parts = parts

    async def connect(self, kid: str) -> None:
        """Implement FleetWait.connect."""
        at = await self._places.of(kid)
        await ask(at, self._parts[at].connect(kid))

    async def for_key(self, record: KeyRecord, seconds: float) -> Confirmation:
        """Implement FleetWait.for_key."""
        at = self._places.partitions.home_of(record)
        return await ask(at, self._parts[at].for_key(record, seconds))

    async def for_all(self, extent: Extent, seconds: float) -> Confirmation:
        """Implement FleetWait.for_all: wait in each partition that has one of the keys."""
        shares = extent.of_partitions(self._places.partitions)
        found = await asyncio.gather(
            *(ask(at, self._parts[at].for_all(share, seconds)) for at, share in shares.items())
        )
        return merged_confirmation(found)


def merged_confirmation(found: Sequence[Confirmation]) -> Confirmation:
    """Return the confirmation of changes in several partitions.

    A sidecar is outstanding if it is in one of them, until the last time that one of them names.
    """
    latest: dict[str, Outstanding] = {}
    for one in (entry for each in found for entry in each.outstanding):
        known = latest.get(one.instance, one)
        latest[one.instance] = max(known, one, key=lambda entry: entry.may_allow_until)
    outstanding = tuple(latest[instance] for instance in sorted(latest))
    sidecars = max((each.sidecars for each in found), default=0)
    elapsed_ms = max((each.elapsed_ms for each in found), default=0)
    return Confirmation(max(0, sidecars - len(outstanding)), outstanding, elapsed_ms)


class PartitionedSidecars:
    """A SidecarRegistry with one entry for each sidecar: the worst of its partitions.

    Numbers of changes are sums over the partitions, so the lag of a sidecar is one, too.
    """

    def __init__(self, places: Places, parts: Sequence[SidecarRegistry]) -> None:
        del places
        self._parts = parts

    async def find(self) -> tuple[int, list[Heard]]:
        """Implement SidecarRegistry.find. Raises Unavailable if one partition cannot be read."""
        found = await ask_all([part.find() for part in self._parts])
        lists = [{each.sidecar.instance: each for each in heard} for _, heard in found]
        names = sorted({name for known in lists for name in known})
        return sum(last for last, _ in found), [_merged(name, lists) for name in names]


def _merged(name: str, lists: Sequence[Mapping[str, Heard]]) -> Heard:
    """Return the worst of a sidecar's entries. An entry that is missing proves nothing."""
    entries = [known.get(name) or doubtful(name, "it has no entry there") for known in lists]
    first = next(one for one in entries if not one.doubt or one is entries[-1])
    sidecars = [one.sidecar for one in entries]
    applied = [one.applied for one in sidecars]
    sidecar = replace(
        first.sidecar,
        applied=None if None in applied else sum(number or 0 for number in applied),
        lease_ms=max(one.lease_ms for one in sidecars),
        grace_ms=max(one.grace_ms for one in sidecars),
        trusted=all(one.is_trusted for one in entries),
        reason=_first(entries, lambda one: "" if one.is_trusted else one.sidecar.reason),
        entries=sum(one.entries for one in sidecars),
        seen=sum(one.seen for one in sidecars),
        issued=sum(one.issued for one in sidecars),
        reads_compact=all(one.reads_compact for one in sidecars),
    )
    silent_ms = max(one.silent_ms for one in entries)
    return Heard(sidecar, silent_ms, _first(entries, lambda one: one.doubt))


def _first(entries: Sequence[Heard], why: Callable[[Heard], str]) -> str:
    """Return the first reason, with its partition; "" without any."""
    reasons: Iterator[str] = (
        f"partition {at}: {reason}" for at, one in enumerate(entries) if (reason := why(one))
    )
    return next(reasons, "")
