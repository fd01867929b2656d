"""TrustLease: until when cached records may be served as current, or why they may not."""

import logging

from authz.core.ports import ChangeSink, Clock

log = logging.getLogger("authz.store")


class TrustLease:
    """Our trust in the store. Without a heartbeat that grants it there is none.

    lease: seconds of trust that one heartbeat grants. store: named by its text in faults and logs.
    expected: a fault that is not logged.
    """

    def __init__(self, clock: Clock, lease: float, store: object, *, expected: str = "") -> None:
        self._clock = clock
        self._lease = lease
        self._store = store
        self._expected = f"{store}: {expected}"
        self._sink: ChangeSink
        self._until = 0.0
        self._sent: float | None = None
        self._fault = "connecting"

    @property
    def until(self) -> float:
        """The end of trust in monotonic seconds. 0 if it was ended or never granted."""
        return self._until

    @property
    def sent(self) -> float | None:
        """Monotonic seconds at which the last heartbeat that granted trust was sent, or None."""
        return self._sent

    @property
    def fault(self) -> str:
        """The last reported fault, after the store's address. "" if it is over.

        "connecting" before the first report.
        """
        return self._fault

    def start(self, sink: ChangeSink) -> None:
        """Tell `sink` of each grant and each end from now on. Call it before `grant` and `end`."""
        self._sink = sink

    def is_valid(self) -> bool:
        """Return whether the store is trusted at this moment."""
        return self._clock.monotonic() < self._until

    def grant(self, sent: float) -> None:
        """Trust the store until one lease after `sent`. Any fault is over.

        sent: monotonic seconds at which the heartbeat was sent.
        """
        self.report("")
        self._sent = sent
        self._set(sent + self._lease)

    def end(self) -> None:
        """End trust now. The fault stays as it is."""
        self._set(0.0)

    def report(self, fault: str) -> None:
        """Keep the reason for missing trust, and log it if it changed. "": trust is back."""
        fault = fault and f"{self._store}: {fault}"
        if fault == self._fault:
            return
        self._fault = fault
        if fault == self._expected:
            return
        if fault:
            log.warning("store not trusted: %s", fault)
        else:
            log.info("store trusted: %s", self._store)

    def _set(self, until: float) -> None:
        self._until = until
        self._sink.trust(until)
