"""Heartbeat: what one of them has found, and the words by which its answer is known."""

from dataclasses import dataclass


@dataclass(slots=True)
class Heartbeat:
    """What one heartbeat has found so far. Its PONG comes last. sent: when, by Clock.monotonic."""

    sent: float
    fault: str = ""
    in_step: bool = False

    @property
    def nonce(self) -> str:
        """What its PING says, and its PONG has to."""
        return f"{self.sent:.6f}"

    def blame(self, cause: Exception) -> None:
        """No trust, because of `cause`, unless something before it was the cause already."""
        self.fault = self.fault or str(cause)
