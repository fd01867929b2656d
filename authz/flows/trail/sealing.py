"""Sealer: seals the audit trail by checkpoints, again and again.

Several sealers may run. The store adds a checkpoint only directly after the rows that it seals, so
the slower of two sealers finds the checkpoint of the other one and has nothing left to seal.
"""

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from authz.core.errors import Unavailable
from authz.core.ports import Clock
from authz.core.trail import checkpoints
from authz.core.trail.checkpoints import Chain
from authz.core.trail.ports import TrailStore
from authz.core.trail.rows import Proof, Row, TrailKeys, following, position
from authz.core.trail.verification import Removals

PAGE: Final = 1000  # rows read in one call
MAX_RACES: Final = 20  # checkpoints that other rows came before

log = logging.getLogger("authz.audit")


@dataclass(frozen=True, slots=True)
class Sealed:
    """The result of one round. rows: how many were sealed now. last: id of the last checkpoint.

    wrong: how many rows that were read now have a wrong mark. went_back: id of a checkpoint that
    has vanished, until a round adds one that says so. Both ids are empty if there is none.
    """

    rows: int
    last: str
    wrong: int = 0
    went_back: str = ""


class TrailSealer(Protocol):
    """Seals the audit trail."""

    async def seal(self) -> Sealed:
        """Seal all rows that are there now. Raises Unavailable."""
        ...


class Sealer:
    """A TrailSealer: it seals the rows since the last checkpoint. writer: named in the checkpoint.

    It remembers the last checkpoint that could survive the loss of the primary. If that one is gone
    in a later round, the trail went back. The next checkpoint says so.
    """

    def __init__(self, store: TrailStore, keys: TrailKeys, clock: Clock, writer: str) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self._writer = writer
        self._chain: Chain | None = None  # up to and including the last checkpoint
        self._last: Row | None = None  # the last row of the chain
        self._confirmed: Row | None = None
        self._went_back = ""
        self._pending = 0  # rows of the chain after its last checkpoint
        self._wrong = 0  # rows of this round with a wrong mark

    async def seal(self) -> Sealed:
        """Seal all rows that are there now. Without new rows nothing is written.

        Raises Unavailable if the store fails, or if rows keep coming first.
        """
        await self._look_back()
        self._wrong = 0
        for _ in range(MAX_RACES):
            chain = self._chain = self._chain or await self._resume()
            if not await self._read(chain):
                self._chain = None
                continue
            if not self._pending:
                return Sealed(0, chain.last, self._wrong, self._went_back)
            sealed, went_back = self._pending, self._went_back
            if await self._add(chain):
                return Sealed(sealed, chain.last, self._wrong, went_back)
        raise Unavailable("the audit trail grows too fast to be sealed; try again")

    async def _look_back(self) -> None:
        """Forget the chain if the trail no longer holds the last row that this sealer read.

        A failover loses rows that no replica had, and their ids are given to other rows. If the
        last checkpoint that could survive is gone, log it and note it for the next checkpoint.
        """
        if self._last is not None and not await self._holds(self._last):
            self._chain = None
        lost = self._confirmed
        if lost is None or await self._holds(lost):
            return
        log.error(
            "the audit trail went back: checkpoint %s has vanished; a failover lost it, the store "
            "was restored, or somebody removed it; run `authz audit verify`",
            lost.id,
        )
        self._went_back, self._confirmed = lost.id, None

    async def _holds(self, row: Row) -> bool:
        found = await self._store.before(following(row.id), 1)
        return bool(found) and found[0] == row

    async def _resume(self) -> Chain:
        """Return the chain after the last checkpoint with a good mark; empty if there is none.

        A checkpoint with a wrong mark is logged and passed over.
        """
        self._pending, self._last = 0, None
        end = ""
        while rows := await self._store.before(end, PAGE):
            for row in rows:
                if not checkpoints.is_checkpoint(row):
                    continue
                found = checkpoints.parse(row)
                if found is not None and self._keys.check(row.fields) is Proof.VALID:
                    self._last = row
                    return found.resumed(row)
                log.error("the checkpoint %s of the audit trail is forged or altered", row.id)
            end = rows[-1].id
        return Chain()

    async def _read(self, chain: Chain) -> bool:
        """Extend the chain by all rows that follow, and count those that nothing seals.

        In place of a row that a deletion removed, its hash is added. Return False if a row was
        removed meanwhile: then the chain is of no use.
        """
        removals, begin = Removals(self._keys), chain.last
        await read_all(self._store, removals.feed, after=begin)
        start = position(begin) if begin else (0, 0)
        absent = sorted(
            (place, row_id) for row_id in removals.found if (place := position(row_id)) > start
        )[::-1]
        late = Removals(self._keys)
        while rows := await self._store.after(chain.last, PAGE):
            for row in rows:
                late.feed(row)
                while absent and absent[-1][0] < position(row.id):
                    _, row_id = absent.pop()
                    chain.extend_by(row_id, removals.found[row_id])
                    self._pending += 1
                if absent and absent[-1][1] == row.id:  # it is still there
                    absent.pop()
                self._take(chain, row)
        return not any(
            row_id not in removals.found and position(row_id) > start for row_id in late.found
        )

    def _take(self, chain: Chain, row: Row) -> None:
        is_good = self._is_good(row)
        found = checkpoints.parse(row) if checkpoints.is_checkpoint(row) else None
        if is_good and found is not None and found.matches(chain):
            self._pending = -1  # another sealer made it
        self._extend(chain, row)
        self._pending += 1

    def _is_good(self, row: Row) -> bool:
        proof = self._keys.check(row.fields)
        if proof is Proof.WRONG:
            log.error("the row %s of the audit trail is forged or altered", row.id)
            self._wrong += 1
        return proof is Proof.VALID

    def _extend(self, chain: Chain, row: Row) -> None:
        chain.extend(row)
        self._last = row

    async def _add(self, chain: Chain) -> bool:
        fields = checkpoints.checkpoint(
            chain,
            self._keys,
            change_id=secrets.token_hex(16),
            writer=self._writer,
            at=self._clock.wall_ms(),
            went_back=self._went_back,
        )
        self._chain = None  # if the reply is lost, the next round reads the trail again
        if self._last is None:
            return False
        added = await self._store.add(self._last, fields)
        if added is None:
            if await self._holds(self._last):
                self._chain = chain
            return False
        self._chain = chain
        row_id, survives = added
        row = Row(row_id, fields)
        self._extend(chain, row)
        self._pending, self._went_back = 0, ""
        if survives:
            self._confirmed = row
        return True


async def read_all(
    store: TrailStore, use: Callable[[Row], None], *, after: str = "", until: str = ""
) -> None:
    """Pass each row after an id to `use`, oldest first, up to and including the id `until`.

    after empty: from the first row. until empty or not found: up to the last row. Raises
    Unavailable if the store fails.
    """
    while rows := await store.after(after, PAGE):
        for row in rows:
            use(row)
            if row.id == until:
                return
        after = rows[-1].id
