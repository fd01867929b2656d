"""Composition root of `authz init --reshard`."""

import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

from authz.core.errors import BadInput, Unavailable
from authz.core.keys.keyring import Keyring
from authz.core.trail.checkpoints import restored
from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.storage import functions
from authz.storage.endpoint import Client
from authz.storage.resharding.lease import RunLease
from authz.storage.resharding.moving import Moving
from authz.storage.resharding.preconditions import refuse_unfit
from authz.storage.resharding.result import Moved
from authz.storage.resharding.stages import Stages
from authz.wiring.administration import keyring, partitions

TIMEOUT: float = 60.0  # seconds for each reply: some values are long


async def move(
    settings: Settings, actor: str, report: Callable[[str], None], *, keep: bool = False
) -> Moved | None:
    """Move the store to the partitions of the settings; None if it has them already.

    actor: for the audit trail. report: is told of each step. keep: the old names stay. Raises
    BadInput for unusable settings, Foreign, Conflict, Unavailable: see Moving.
    """
    ring = keyring(settings)
    async with _moving(settings, ring, actor, report) as (moving, lease, stages, clients):
        if await stages.is_moved():
            return None
        await refuse_unfit(clients[0], clients[1:])
        if problem := await functions.load(clients[1]):
            raise Unavailable(f"functions: {problem}")
        return await lease.hold(moving.move(keep=keep))


async def cancel(settings: Settings, report: Callable[[str], None]) -> bool:
    """Drop a move that is not decided. Return False if there is none. Raises as `move`."""
    ring = keyring(settings)
    async with _moving(settings, ring, "", report) as (moving, lease, stages, _):
        if await stages.is_moved():
            return False
        return await lease.hold(moving.cancel())


@asynccontextmanager
async def _moving(
    settings: Settings, ring: Keyring, actor: str, report: Callable[[str], None]
) -> AsyncIterator[tuple[Moving, RunLease, Stages, list[Client]]]:
    where = partitions(settings)
    if len(where) == 1:
        raise BadInput("redis.partitions", "set it to 8 or 48, the number to which the store moves")
    run = secrets.token_hex(16)
    async with AsyncExitStack() as stack:
        ends = (where[0].undivided(), *where)
        clients = [
            await stack.enter_async_context(aclosing(one.client(timeout=TIMEOUT))) for one in ends
        ]
        old, *new = clients
        stages = Stages(old, run, len(new), ring.fingerprints)

        def note(last: int, number: int) -> Mapping[str, str]:
            return restored(
                ring.trail_keys,
                change_id=secrets.token_hex(16),
                writer=actor,
                at=SystemClock().wall_ms(),
                last=last,
                number=number,
                left_out={},
            )

        moving = Moving(old, new, run, stages, note=note, report=report)
        yield moving, RunLease(old, run), stages, clients
