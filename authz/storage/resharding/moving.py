"""Moving: the whole move of a store with one partition, from the first look to the last removal."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, Final

import redis.asyncio

from authz.core.errors import Conflict, Foreign, Unavailable
from authz.core.partitions import Partitions
from authz.storage import encoding, meta, schema
from authz.storage.moved import divided_meta
from authz.storage.replies import checked
from authz.storage.resharding.copying import FROZEN_COUNT, Copying
from authz.storage.resharding.destinations import Destinations
from authz.storage.resharding.dividing import Dividing
from authz.storage.resharding.freezing import Freezing
from authz.storage.resharding.late import copy_late, copy_sidecars
from authz.storage.resharding.result import Moved
from authz.storage.resharding.stages import DECIDED, ENDS, Stage, Stages, with_advice
from authz.storage.resharding.target import Target, server_of
from authz.storage.resharding.trail_copy import TrailCopy

ROUNDS: Final = 8  # before the freeze, at most
LITTLE: Final = 500  # copies: fewer are made while the store is frozen
NOTICE_SECONDS: Final = 3.0  # in which sidecars connect to the partitions, and register there
LATE_SECONDS: Final = 10.0  # within which `authz admin` notices the move
UNKNOWN_NAMES: Final = (
    "this version does not know what {} is, and {} more names; nothing was moved: run the newest "
    "version, or remove what is not ours"
)
COPIES: Final = "nothing was moved; `authz init --reshard --cancel` removes the copies"
OTHER_SERVER: Final = "a server was restarted or replaced while it was copied; try again"


Report = Callable[[str], None]
Note = Callable[[int, int], Mapping[str, str]]


class Moving:
    """Moves a store. old: client of the store as one with a single partition. new: of each target.

    run: holder of the lease, see RunLease. stages: of this store. note: returns the row that begins
    or continues the audit trail of a partition, from its last change, or 0, and the number of the
    row. report: is told of each step.
    """

    def __init__(
        self,
        old: redis.asyncio.Redis,
        new: Sequence[redis.asyncio.Redis],
        run: str,
        stages: Stages,
        *,
        note: Note,
        report: Report,
    ) -> None:
        self._old: Any = old
        self._new = new
        self._names = schema.names_of(old)
        self._stages = stages
        self._note = note
        self._report = report
        self._limited: set[str] = set()  # groups of limits that are frozen
        self._servers: list[str] = []  # while everything was copied
        self._targets = [Target(client, run) for client in new]
        self._freezing = Freezing(old, run, len(new))

    async def move(self, *, keep: bool = False) -> Moved:
        """Move the store, or continue what a killed run has begun. keep: remove no old name.

        Raises Foreign if the store is not ours or has another number of partitions, Conflict if
        another run works on it, Unavailable if the store fails or changes too fast. Unless the move
        was decided, the old store is then as it was.
        """
        async with AsyncExitStack() as stack:
            for target in self._targets:
                await stack.enter_async_context(target)
            stage = await self._stage()
            done = Moved(is_continued=stage in ENDS)
            if not done.is_continued:
                if stage is not None:
                    self._report("an earlier run has ended early; beginning again")
                    await self._begin_again()
                done = await self._decide(is_known=stage is not None)
            try:
                await self._end(keep=keep)
            except Unavailable as cause:
                raise with_advice(cause) from None
            return done

    async def cancel(self) -> bool:
        """Drop a move that is not decided. Return False if there is none. Raises as `move`."""
        async with AsyncExitStack() as stack:
            for target in self._targets:
                await stack.enter_async_context(target)
            stage = await self._stage()
            if stage is None:  # a run that was killed at once has left markers
                return any([await target.forget() for target in self._targets])
            if stage in ENDS:
                raise Conflict(f"it cannot be cancelled: {DECIDED}")
            await self._begin_again()
            for target in self._targets:
                await target.claim(is_known=True)
                await target.empty()
                await target.add(("DEL", target.names.restoring))
                await target.flush()
            await self._stages.drop()
            return True

    async def _stage(self) -> Stage | None:
        """Return how far an earlier run came. A complete partition shows a decision that is lost.

        A failover can lose it on a cluster. The old store is still frozen then, and stays so.
        """
        stage = await self._stages.read()
        if stage is not Stage.FROZEN or await checked(self._old.type(self._names.seq)) != "list":
            return stage
        done = [await target.is_complete() for target in self._targets]
        return Stage.DECIDED if any(done) else stage

    async def _begin_again(self) -> None:
        """Thaw the old store. Raises Conflict if the move was decided meanwhile."""
        await self._stages.go_on_to(Stage.COPYING)
        await self._freezing.thaw()

    async def _give_up(self) -> None:
        """Thaw the old store, to the end: another signal must not leave it frozen."""
        thawing = asyncio.create_task(self._begin_again())
        while not thawing.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({thawing})
        with suppress(Conflict):  # it was decided, and only the reply was lost
            thawing.result()
            self._report("the store takes changes again: nothing was moved")

    async def _decide(self, *, is_known: bool) -> Moved:
        for target in self._targets:
            await target.claim(is_known=is_known)
        await self._stages.go_on_to(Stage.COPYING)
        for target in self._targets:
            await target.empty()
        await self._stages.announce()
        await asyncio.sleep(NOTICE_SECONDS)
        self._servers = await self._used_servers()
        began = time.monotonic()
        places = Destinations(Partitions(len(self._new)))
        copying = Copying(self._old, self._targets, places)
        trail = TrailCopy(self._old, self._new[0], self._targets[0])
        try:
            await self._copy(copying, trail)
        except Foreign:
            raise
        except Unavailable as cause:  # perhaps the copies have filled the store
            raise Unavailable(f"{cause}; {COPIES}") from None
        done = Moved(copy_seconds=time.monotonic() - began)
        frozen = time.monotonic()
        try:
            await self._stages.go_on_to(Stage.FROZEN)
            await self._copy_rest(copying, trail, done)
            await self._stages.go_on_to(Stage.DECIDED)
        except BaseException:
            await self._give_up()
            raise
        try:
            await self._complete()
        except Unavailable as cause:
            raise with_advice(cause) from None
        done.frozen_seconds = time.monotonic() - frozen
        return done

    async def _copy(self, copying: Copying, trail: TrailCopy) -> None:
        before = 0
        for number in range(1, ROUNDS + 1):
            copies = await copying.round()
            await trail.advance(self._names.audit)
            self._report(
                f"round {number}: {len(copying.places.records)} keys, {copies} names copied"
            )
            self._refuse_unknown(copying)
            if copies < LITTLE or (number > 1 and copies * 2 > before):
                return  # a further round would find as many
            before = copies

    async def _copy_rest(self, copying: Copying, trail: TrailCopy, done: Moved) -> None:
        """Freeze the store, and bring the copies to its content, exactly."""
        self._report("the store is frozen: changes that give rights are refused for some seconds")
        content = await self._freeze(copying)
        await self._last_round(copying)
        names, records = self._names, copying.places.records
        await trail.finish(names.aside(names.audit))
        seq = await self._number()
        await self._add_rows(seq)
        has_imports = meta.has_imports(content)
        dividing = Dividing(self._old, self._targets, copying)
        done.moved = await dividing.run(seq, has_imports=has_imports)
        await copy_sidecars(self._old, self._new, self._targets)
        await self._compare(copying, trail)
        mark = {schema.META_IMPORTS: "1"}  # a first import writes it before it is refused
        if {**await self._stages.content(), **mark} != {**content, **mark}:
            raise Unavailable("authz:meta was changed while the store was frozen; try again")
        done.keys, done.names, done.rows = len(records), copying.names, trail.rows
        done.damaged = tuple(sorted(copying.damaged))

    async def _freeze(self, copying: Copying) -> Mapping[str, str]:
        """Freeze the store, and the limits of all keys that are known. Return authz:meta."""
        of_events = copying.copied("events:sink:", "events:dead:", "events:again:")
        await self._freezing.freeze(of_events)
        content = await self._stages.content()
        self._limited = {*copying.places.records, *copying.pools}
        await self._freezing.freeze_limits(self._limited)
        return content

    async def _last_round(self, copying: Copying) -> None:
        await copying.round(FROZEN_COUNT)
        new = {*copying.places.records, *copying.pools} - self._limited
        if new:  # of keys that were made after the round before, and used since
            await self._freezing.freeze_limits(new)
            await copying.copy_again([f"limit:{group}" for group in new])
        self._refuse_unknown(copying)

    def _refuse_unknown(self, copying: Copying) -> None:
        """Raise Foreign if the last round found names that this version does not know."""
        if copying.unknown:
            first, *others = sorted(copying.unknown)
            raise Foreign(UNKNOWN_NAMES.format(self._names.beginning + first, len(others)))

    async def _number(self) -> int:
        """Return the number with which all partitions begin: above each that was ever given out."""
        names = self._names
        texts = [await checked(self._old.get(names.aside(names.seq))) or "0"]
        for name in (names.log, names.aside(names.audit)):
            if await checked(self._old.exists(name)):
                about = await checked(self._old.xinfo_stream(name))
                texts.append(str(about["last-generated-id"]).partition("-")[0])
        try:
            return max(encoding.number(names.seq, text) for text in texts) + 1
        except ValueError as cause:
            raise Unavailable(str(cause)) from None

    async def _add_rows(self, seq: int) -> None:
        """Add the row with number `seq` to each trail: behind all rows, or as the first one."""
        for at, target in enumerate(self._targets):
            row = self._note(0 if at else seq - 1, seq)
            words = [text for pair in row.items() for text in pair]
            await target.add(("XADD", target.names.audit, f"{seq}-0", *words))
            await target.flush()

    async def _compare(self, copying: Copying, trail: TrailCopy) -> None:
        """Raise Unavailable unless the partitions have as many keys and rows as the old store."""
        counts: list[Any] = [
            await checked(client.zcard(schema.names_of(client).keys)) for client in self._new
        ]
        if sum(counts) != len(copying.places.records):
            raise Unavailable(f"{sum(counts)} of {len(copying.places.records)} keys were copied")
        rows: Any = await checked(self._new[0].xlen(self._targets[0].names.audit))
        if rows != trail.rows + 1:
            raise Unavailable(f"{rows - 1} of {trail.rows} rows of the audit trail were copied")
        if await self._used_servers() != self._servers:
            raise Unavailable(OTHER_SERVER)

    async def _used_servers(self) -> list[str]:
        """Return what names the server of each partition: another one may have lost copies.

        It also goes on with a SCAN that another one began, but in another order.
        """
        return [await server_of(client) for client in (self._old, *self._new)]

    async def _complete(self) -> None:
        """Write authz:meta of each partition, then the signpost. It can be repeated."""
        is_switched = False
        while not is_switched:  # somebody may add a pepper meanwhile
            content = await self._stages.content()
            for target in self._targets:
                fields = divided_meta(content, target.names)
                if await target.is_complete():
                    for name, text in (await target.missing(fields)).items():
                        await self._stages.refuse_if_late()
                        await target.add_field(name, text)
                else:
                    await target.complete(fields)
            is_switched = await self._stages.switch(content)

    async def _end(self, *, keep: bool) -> None:
        """End a decided move: complete it, and remove the old names once nobody uses them."""
        if await self._stages.read() is not Stage.SWITCHED:
            for target in self._targets:
                if not await target.is_complete():
                    await target.claim(is_known=True, has_copy=True)
            await self._complete()
        self._report(f"the store has {len(self._new)} partitions")
        await asyncio.sleep(LATE_SECONDS)
        await copy_late(self._old, self._new[0])
        if not keep:
            await self._freezing.remove()
            await self._stages.end()
