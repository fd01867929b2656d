"""The parts of a store with one partition while it is moved to more, and after its move."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Final

from authz.core.errors import Fault, OutcomeUnknown, Unavailable
from authz.flows.store_in_force import MoveState, StoreInForce
from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.storage.endpoint import Client
from authz.storage.move_state import move_state
from authz.wiring.store_parts import StoreParts

log = logging.getLogger("authz.store")

SHORT_SECONDS: Final = 5.0  # after a move the old names stay for twice as long
MOVED: Final = (
    "the store was moved to {} partitions while this command ran, so it may have missed data: run "
    "it again"
)


class StoreMove:
    """A Move of the store that these settings name. stack: closes the clients of its partitions."""

    def __init__(self, settings: Settings, client: Client, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._client = client
        self._stack = stack
        self._count = 0

    async def state(self) -> MoveState:
        """Implement Move.state."""
        move, is_frozen = await move_state(self._client)
        if move is None:
            return MoveState.NONE
        if move.is_done:
            self._count = move.count
            return MoveState.DONE
        return MoveState.FROZEN if is_frozen else MoveState.OPEN

    async def parts(self) -> StoreParts:
        """Implement Move.parts: the partitions are ours, because all have our peppers."""
        from authz.wiring.administration import keyring, our_parts  # noqa: PLC0415  it uses this
        from authz.wiring.partition_count import sized  # noqa: PLC0415

        settings = sized(self._settings, self._count)
        return await self._stack.enter_async_context(our_parts(settings, keyring(settings)))


def with_move(parts: StoreParts, settings: Settings, stack: AsyncExitStack) -> StoreParts:
    """Return the parts of a store with one partition so that removals of rights follow its move.

    Unless the settings name several partitions, because then it was never moved from one.
    """
    if parts.partitions.count > 1:
        return parts
    move = StoreMove(settings, parts.only, stack)
    return replace(parts, in_force=StoreInForce(parts, move, SystemClock()))


@asynccontextmanager
async def whole(parts: StoreParts, *, reads: bool) -> AsyncIterator[None]:
    """Tell after the block if a move has removed what it may have looked for.

    A block that failed, or only reads, raises Unavailable. Another one may have made a change whose
    answer must not be lost: then the log has a warning. Nothing is told of a short block, nor of
    one that changes data and has followed the move.
    """
    in_force, clock = parts.in_force, parts.clock
    began = clock.monotonic()

    async def problem(*, fails: bool) -> str:
        """fails: raise Unavailable if the store fails. Else what the block has done comes first."""
        if in_force is None or clock.monotonic() - began <= SHORT_SECONDS:
            return ""
        try:
            move, _ = await move_state(parts.only)
        except Unavailable:
            if fails:
                raise
            return ""
        return "" if move is None or not move.is_done else MOVED.format(move.count)

    try:
        yield
    except OutcomeUnknown:  # it says what to do
        raise
    except Fault:
        if why := await problem(fails=False):
            raise Unavailable(why) from None
        raise
    if (
        in_force is None
        or (in_force.is_moved and not reads)
        or not (why := await problem(fails=reads))
    ):
        return
    if reads:
        raise Unavailable(why)
    log.warning("%s", why)
