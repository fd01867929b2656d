"""A running sidecar of an episode, and the ways to disturb it."""

import asyncio
import json
import signal
from dataclasses import dataclass
from pathlib import Path

from tests.support.gate import Gate, Rule


@dataclass(slots=True)
class SidecarProcess:
    """One sidecar. outages: times in which it could not reach the store or was paused."""

    kind: str
    name: str
    process: asyncio.subprocess.Process
    answers: Path
    stalls: Path  # from when to when it was not run, as JSON
    log: Path
    outages: list[tuple[float, float]]
    gate: Gate | None = None

    def tell(self, command: dict) -> None:
        """Send it a command."""
        self.process.stdin.write(json.dumps(command).encode() + b"\n")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def spoil(self, rule: Rule) -> None:
        """Set what happens to the traffic between it and the store."""
        self.gate.set(rule)
