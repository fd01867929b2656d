"""The audit trails of several partitions: each is whole, and sealed and verified on its own."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Final

from authz.core.trail.labels import labelled
from authz.core.trail.ports import TrailStore
from authz.core.trail.report import MAX_FINDINGS, Report
from authz.core.trail.rows import Row
from authz.flows.command_ports import TrailReader
from authz.flows.partitioned.asking import ask, ask_all
from authz.flows.partitioned.places import Places
from authz.flows.trail.listing import Events, TrailEvent, Wanted
from authz.flows.trail.newest_rows import PlacedRow
from authz.flows.trail.sealing import Sealed, TrailSealer
from authz.flows.trail.shipping import TrailSink

LEAST: Final = 8  # rows asked of each partition at once
MAX_TIME: Final = 16  # digits
MAX_AT: Final = 10**MAX_TIME  # ms, after each time


class PartitionedListing:
    """A TrailReader. The ids of its events have a label: `3.17-0`."""

    def __init__(self, places: Places, parts: Sequence[TrailReader]) -> None:
        self._places = places
        self._parts = parts

    async def find(self, wanted: Wanted, limit: int) -> Events:
        """Implement TrailReader.find. Events of one partition keep their order."""
        trails = await self._places.trails(wanted.kid) if wanted.kid else None
        asked = trails or range(len(self._parts))
        found = await asyncio.gather(
            *(ask(at, self._parts[at].find(wanted, limit)) for at in asked)
        )
        return merged_events(dict(zip(asked, found, strict=True)), limit)


def merged_events(found: Mapping[int, Events], limit: int) -> Events:
    """Return the newest events of the partitions, at most `limit`; their ids get labels.

    Events of one partition keep their order. So one that cannot be read, and has no time, stays
    behind the event that it followed.
    """
    placed: list[tuple[float, TrailEvent]] = []
    for at, one in found.items():
        latest = inf
        for event in one.events:
            latest = min(latest, event.at or latest)
            placed.append((latest, replace(event, id=labelled(at, event.id))))
    placed.sort(key=lambda pair: pair[0], reverse=True)
    has_more = len(placed) > limit or any(one.has_more for one in found.values())
    return Events(tuple(event for _, event in placed[:limit]), has_more)


class PartitionedSealer:
    """A TrailSealer."""

    def __init__(self, places: Places, parts: Sequence[TrailSealer]) -> None:
        del places
        self._parts = parts

    async def seal(self) -> Sealed:
        """Implement TrailSealer.seal: in each partition. `last` is empty if there are several."""
        found = await ask_all([part.seal() for part in self._parts])
        went_back = [labelled(at, one.went_back) for at, one in enumerate(found) if one.went_back]
        return Sealed(
            sum(one.rows for one in found),
            "",
            sum(one.wrong for one in found),
            next(iter(went_back), ""),
        )


class LabellingSink:
    """A TrailSink that gives rows the label of their partition."""

    def __init__(self, sink: TrailSink, partition: int) -> None:
        self._sink = sink
        self._partition = partition

    async def deliver(self, rows: Sequence[Row]) -> None:
        """Implement TrailSink.deliver."""
        await self._sink.deliver(
            [Row(labelled(self._partition, row.id), row.fields) for row in rows]
        )


def merged_report(found: Sequence[Report]) -> Report:
    """Return the report about the trails of all partitions; ids have labels.

    `last` is empty. sealed_until is that of the partition that was sealed first, empty if one with
    rows was never sealed.
    """
    findings = [
        replace(one, where=labelled(at, one.where))
        for at, report in enumerate(found)
        for one in report.findings
    ]
    sealed_at, at = min(
        ((report.sealed_at, at) for at, report in enumerate(found) if report.rows), default=(0, 0)
    )
    since = [report.unsealed_since for report in found if report.unsealed]
    return Report(
        findings=tuple(findings[:MAX_FINDINGS]),
        more=sum(report.more for report in found) + max(0, len(findings) - MAX_FINDINGS),
        rows=sum(report.rows for report in found),
        last="",
        checkpoints=sum(report.checkpoints for report in found),
        sealed_until=labelled(at, found[at].sealed_until),
        sealed_at=sealed_at,
        unsealed=sum(report.unsealed for report in found),
        unsealed_since=min(since, default=0),
        unmarked=sum(report.unmarked for report in found),
        unmarked_until=max(report.unmarked_until for report in found),
    )


class PartitionedRows:
    """A NewestRows. The rows of a partition keep their order; among them the later time is first.

    A cursor has the id of the last row of each partition, with commas between them. An empty one
    stands for the end of its trail.
    """

    def __init__(self, places: Places, parts: Sequence[TrailStore]) -> None:
        del places
        self._parts = parts

    async def before(self, cursor: str, count: int) -> Sequence[PlacedRow]:
        """Implement NewestRows.before."""
        places = cursor.split(",") if cursor else [""] * len(self._parts)
        width = min(count, max(LEAST, -(-2 * count // len(self._parts))))
        found = await ask_all(
            [part.before(place, width) for part, place in zip(self._parts, places, strict=True)]
        )
        left = [list(reversed(rows)) for rows in found]
        is_cut = [len(rows) == width for rows in found]
        placed: list[PlacedRow] = []
        while len(placed) < count and any(left):
            _, at = max((_time(rows[-1]), at) for at, rows in enumerate(left) if rows)
            row = left[at].pop()
            places[at] = row.id
            placed.append(PlacedRow(",".join(places), labelled(at, row.id), row))
            if is_cut[at] and not left[at]:
                break  # the next row of this partition is not known yet
        return placed


def _time(row: Row) -> int:
    """Return the time of a row in ms; of one without a time, or with a wrong one, a late one.

    So it comes at once, behind the row that it preceded, and holds back no later rows.
    """
    text = row.fields.get("at", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < MAX_TIME else MAX_AT
