"""DividedRestore: the backup of a store with one partition, into a store with several.

Rules:
1. A record goes to the home of its owner, with its aliases and applied fields. If its kid leads to
   another partition, that one gets an entry of a moved key: see moved.py.
2. A record that cannot be read names no owner. It goes where its kid leads, and stays undecided.
3. The audit trail goes to partition 0 as it is. So it can still be verified.
4. Each partition gets all tombstones, because none says of which key it is.
5. All is written before the first authz:meta. The sequence of each partition continues above that
   of the backup.
6. An interrupted run continues if it is started again with the same file.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any, Final

import redis.asyncio

from authz.core.partitions import Partitions
from authz.flows.partitioned.places import Places
from authz.storage import schema
from authz.storage.moved import StoredMoved, divided_meta, home_by_fields
from authz.storage.restore import Note, Restore, WriteLine
from authz.storage.restored_lines import without_deleted, without_earlier
from authz.storage.tombstones import Tombstone
from authz.storage.verified_backup import Line, Verified

PAGE: Final = 200  # members of lines that are written to a partition at once

Piece = dict[str, Any]


class DividedRestore:
    """Divides a verified backup file among partitions. clients: of each, in order.

    note: as of Restore. It writes the row of partition 0, and of others one that loses nothing.
    """

    def __init__(self, clients: Sequence[redis.asyncio.Redis], note: Note | None = None) -> None:
        partitions = Partitions(len(clients))
        self._names = [schema.names_of(client) for client in clients]
        self._division = Division(partitions)
        self._places = Places(partitions, [StoredMoved(client) for client in clients])
        self._restores = [
            Restore(client, partial(_of_new_trail, note) if note and at else note)
            for at, client in enumerate(clients)
        ]
        self._pieces: dict[int, Piece] = {}
        self._writes: dict[int, WriteLine] = {}

    async def run(
        self,
        file: Verified,
        lines: Iterable[Line],
        highest: int,
        gone: frozenset[Tombstone] = frozenset(),
    ) -> int:
        """Write everything and return the new sequence number of each partition.

        Arguments and faults are those of Restore.run. A partition that this file has completed is
        left as it is, unless all are: then Conflict is raised.
        """
        gone = gone | file.gone
        done = [await restore.is_done(file) for restore in self._restores]
        async with AsyncExitStack() as stack:
            for at, restore in enumerate(self._restores):
                if not done[at] or all(done):
                    own = replace(file, last={}, meta=divided_meta(file.meta, self._names[at]))
                    begun = restore.begun(own, gone)
                    self._writes[at] = await stack.enter_async_context(begun)
            for number, item in lines:
                kept = without_deleted(without_earlier(item, number, file.last), gone)
                self._add(self._division.of(kept | _trail(item)))
                await self._write(PAGE)
            await self._write()
            self._add(self._division.rest(await self._homes(self._division.waiting())))
            await self._write()
            return [await self._restores[at].complete(highest) for at in self._writes][-1]

    async def _homes(self, kids: Sequence[str]) -> dict[str, int]:
        return dict(zip(kids, await self._places.of_all(kids), strict=True))

    def _add(self, pieces: Mapping[int, Piece]) -> None:
        for at, piece in pieces.items():
            waiting = self._pieces.setdefault(at, {})
            for member, found in piece.items():
                if isinstance(found, dict):
                    waiting[member] = waiting.get(member, {}) | found
                else:
                    waiting.setdefault(member, []).extend(found)

    async def _write(self, least: int = 1) -> None:
        """Write the pieces of each partition for which at least so many members wait."""
        full = [at for at, piece in self._pieces.items() if sum(map(len, piece.values())) >= least]
        pieces = {at: self._pieces.pop(at) for at in full}
        writes = [self._writes[at](0, pieces[at]) for at in full if at in self._writes]
        await asyncio.gather(*writes)


class Division:
    """Divides the lines of a backup. Parts whose home is not known yet wait for `rest`."""

    def __init__(self, partitions: Partitions) -> None:
        self._partitions = partitions
        self._near: dict[str, int] = {}  # homes of the records of the last line that had some
        self._aliases: list[tuple[str, str]] = []
        self._applied: dict[str, Any] = {}

    def of(self, item: Mapping[str, Any]) -> dict[int, Piece]:
        """Return the parts of a line by partition. Its audit entries belong to partition 0."""
        pieces: dict[int, Piece] = {}
        if "records" in item:
            self._near = {}
        for kid, fields in item.get("records", ()):
            named = self._partitions.of(kid)
            home = home_by_fields(self._partitions, kid, fields)
            self._near[kid] = home
            pieces.setdefault(home, {}).setdefault("records", []).append((kid, fields))
            if home != named:
                pieces.setdefault(named, {}).setdefault("moved", []).append((kid, home))
        for digest, kid in item.get("aliases", ()):
            at = self._near.get(kid)
            if at is None:  # the alias leads to the key of another line
                self._aliases.append((digest, kid))
            else:
                pieces.setdefault(at, {}).setdefault("aliases", []).append((digest, kid))
        self._applied |= item.get("applied", {})
        if "audit" in item:
            pieces.setdefault(0, {})["audit"] = list(item["audit"])
        return pieces

    def waiting(self) -> list[str]:
        """Return the kids of the parts that wait."""
        return list({*self._applied, *(kid for _, kid in self._aliases)})

    def rest(self, homes: Mapping[str, int]) -> dict[int, Piece]:
        """Return the parts that waited, by partition. homes: of each of their keys."""
        pieces: dict[int, Piece] = {}
        for digest, kid in self._aliases:
            pieces.setdefault(homes[kid], {}).setdefault("aliases", []).append((digest, kid))
        for kid, text in self._applied.items():
            pieces.setdefault(homes[kid], {}).setdefault("applied", {})[kid] = text
        return pieces


def _trail(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return all audit entries of a line: the restore itself notes which it leaves out."""
    return {"audit": item["audit"]} if "audit" in item else {}


def _of_new_trail(
    note: Note, _last: int, number: int, left_out: Mapping[str, bytes]
) -> Mapping[str, str]:
    """Return the first row of a trail that had none before."""
    return note(0, number, left_out)
