"""The door of a Check: bytes in, bytes out, whichever transport carries them."""

import logging
from collections.abc import Awaitable
from typing import Final

from authz.core.decision import Allow, Decision, Deny, Reason
from authz.core.ports import Event, Probe
from authz.core.request import Request
from authz.flows.check import Checker
from authz.rpc.extract import Extractor, refused
from authz.rpc.respond import Responder

log = logging.getLogger("authz.check")

UNAVAILABLE: Final = Deny(Reason.UNAVAILABLE)


class CheckDoor:
    """Answers CheckRequests. Whatever comes in, the answer is a decision; a bug is UNAVAILABLE."""

    def __init__(
        self, extractor: Extractor, checker: Checker, responder: Responder, probe: Probe
    ) -> None:
        self._read = extractor.read
        self._decide = checker.check
        self._write = responder.write
        self._probe = probe
        self._faults = 0

    def check(self, raw: bytes, traceparent: bytes | None = None) -> bytes | Awaitable[bytes]:
        """The serialised CheckResponse: at once on a cache hit, an awaitable when I/O is needed."""
        try:
            request = self._read(raw)
            decision = self._decide(request)
            if isinstance(decision, (Allow, Deny)):
                return self._write(decision, request)
        except Exception:  # noqa: BLE001  whatever it is, no allow
            return self._fault()
        return self._later(decision, request)

    async def _later(self, decision: Awaitable[Decision], request: Request) -> bytes:
        try:
            return self._write(await decision, request)
        except Exception:  # noqa: BLE001  as above; a cancelled call is not one of these
            return self._fault()

    def _fault(self) -> bytes:
        """Our own failure. Logged ever more rarely: who can cause it shall not flood the log."""
        self._faults += 1
        self._probe.count(Event.DECISION_FAULT)
        if self._faults & (self._faults - 1) == 0:
            log.exception("a Check failed inside, answered unavailable (%d so far)", self._faults)
        return self._write(UNAVAILABLE, refused(UNAVAILABLE))
