"""RegularSealing: seals the audit trail every minute, for as long as the process runs."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from authz.core.errors import Unavailable
from authz.flows.trail.sealing import TrailSealer

PAUSE: Final = 60.0  # seconds between two rounds
ROUNDS: Final = ("sealed", "idle", "failed")
FINDINGS: Final = ("forged", "went_back")

log = logging.getLogger("authz.audit")


class RegularSealing:
    """Runs a sealer. is_ours: whether the store is reachable and ours; else a round is left out.

    rounds: how many have ended, by outcome (ROUNDS). findings: rows with a wrong mark and confirmed
    checkpoints that vanished (FINDINGS).
    """

    def __init__(
        self,
        sealer: TrailSealer,
        is_ours: Callable[[], bool],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sealer = sealer
        self._is_ours = is_ours
        self._sleep = sleep
        self.rounds = Counter(dict.fromkeys(ROUNDS, 0))
        self.findings = Counter(dict.fromkeys(FINDINGS, 0))

    async def run(self) -> None:
        """Seal now and after each pause of PAUSE (60 s), until cancelled.

        Without the store, or while it is not ours, a round is left out. Unavailable is logged and
        counted, not raised.
        """
        while True:
            if self._is_ours():
                await self._round()
            await self._sleep(PAUSE)

    async def _round(self) -> None:
        try:
            sealed = await self._sealer.seal()
        except Unavailable as cause:
            self.rounds["failed"] += 1
            log.warning("the audit trail was not sealed: %s", cause)
            return
        self.rounds["sealed" if sealed.rows else "idle"] += 1
        self.findings["forged"] += sealed.wrong
        self.findings["went_back"] += bool(sealed.went_back)
