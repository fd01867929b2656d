"""Heartbeat: the results of one round of questions to the store."""

from dataclasses import dataclass


@dataclass(slots=True)
class Heartbeat:
    """The results of one heartbeat so far; its PONG comes last. sent: `Clock.monotonic` seconds.

    fault: why it grants no trust, or "". in_step: all changes up to the store's number are applied.
    """

    sent: float
    fault: str = ""
    in_step: bool = False

    @property
    def nonce(self) -> str:
        """The text that its PING carries and its PONG must repeat: `sent` with six decimals."""
        return f"{self.sent:.6f}"

    def fail(self, cause: Exception) -> None:
        """Record `cause` as the reason to grant no trust. Only the first cause is kept."""
        self.fault = self.fault or str(cause)
