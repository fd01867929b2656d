"""Heartbeat: the results of one round of questions to the store."""

from dataclasses import dataclass


@dataclass(slots=True)
class Heartbeat:
    """The results of one heartbeat so far; its PONG comes last. sent: `Clock.monotonic` seconds."""

    sent: float
    fault: str = ""
    in_step: bool = False

    @property
    def nonce(self) -> str:
        """The text that its PING carries and its PONG must repeat."""
        return f"{self.sent:.6f}"

    def fail(self, cause: Exception) -> None:
        """Grant no trust because of `cause`. The first cause is kept."""
        self.fault = self.fault or str(cause)
