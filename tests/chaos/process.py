"""One sidecar process of a run, as the faults see it."""

import asyncio
import json
import signal
from dataclasses import dataclass, field
from pathlib import Path

from authz.settings.model import load
from authz.wiring.live_settings import settings_hash
from tests.chaos.history import Change, Key
from tests.chaos.rules import Rules
from tests.support.gate import Gate, Rule

RELOADS_WITHIN = 20.0  # seconds


@dataclass(slots=True)
class SidecarProcess:
    """One sidecar. outages: times in which it could not reach the store or was paused.

    lost: times in which it could not reach some of the partitions. reloads: the rules of its
    settings file, from the start on; empty if it has none.
    """

    kind: str
    name: str
    process: asyncio.subprocess.Process
    answers: Path
    stalls: Path  # from when to when it was not run, as JSON
    log: Path
    settings: Path
    outages: list[tuple[float, float]]
    reloads: list[Change[Rules]]
    gate: Gate | None = None
    lost: list[tuple[frozenset[int], float, float]] = field(default_factory=list)

    def outages_of(self, key: Key) -> list[tuple[float, float]]:
        """Return the outages for a key. A new token is judged by a signing key in partition 0."""
        where = {key.partition, 0} if key.is_token else {key.partition}
        return [*self.outages, *((begin, end) for lost, begin, end in self.lost if where & lost)]

    def tell(self, command: dict) -> None:
        """Send it a command."""
        self.process.stdin.write(json.dumps(command).encode() + b"\n")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    async def use_settings(self, text: str, *, is_good: bool) -> None:
        """Write its settings file, send SIGHUP, and wait until it reports the reload.

        is_good: the report must name no mistake; else it must name one, unless this is a mutant.
        """
        self.settings.write_text(text)
        self.signal(signal.SIGHUP)
        version = settings_hash(load(self.settings, environ={})) if is_good else None
        async with asyncio.timeout(RELOADS_WITHIN):
            while True:
                report = json.loads(await self.process.stdout.readline())
                if not is_good and (report["reason"] or self.kind != "leased"):
                    return
                if is_good and report == {"version": version, "reason": ""}:
                    return

    def spoil(self, rule: Rule) -> None:
        """Set what happens to the traffic between it and the store."""
        self.gate.set(rule)
