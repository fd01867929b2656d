"""The door of a Check: bytes in, bytes out, whichever transport carries them."""

import logging
import sys
import traceback
from collections.abc import Awaitable
from time import perf_counter
from typing import Final

from authz.core.decision import Allow, Decision, Deny, Reason
from authz.core.events import Event
from authz.core.ports import CheckObserver, Probe
from authz.core.request import Request
from authz.flows.check import Checker
from authz.rpc.check.extract import Extractor, refused
from authz.rpc.check.respond import Responder

log = logging.getLogger("authz.check")

UNAVAILABLE: Final = Deny(Reason.UNAVAILABLE)


class NullObserver:
    """A Witness that looks away."""

    stride = sys.maxsize

    def take_line(self, _decision: Deny) -> bool:
        """See Witness."""
        return False

    def saw(
        self,
        decision: Decision,
        request: Request,
        traceparent: bytes | None,
        began: float | None,
        *,
        wanted: bool = False,
        waited: bool = False,
    ) -> None:
        """See Witness."""


class CheckHandler:
    """Answers CheckRequests. Whatever comes in, the answer is a decision; a bug is UNAVAILABLE."""

    def __init__(
        self,
        extractor: Extractor,
        checker: Checker,
        responder: Responder,
        probe: Probe,
        witness: CheckObserver = NullObserver(),  # noqa: B008  it has no state
    ) -> None:
        self._decide = checker.check
        self._probe = probe
        self._witness = witness
        self._take_line, self._saw = witness.take_line, witness.saw
        self._unwatched = 0  # how many Checks to come are not watched
        self._faults = 0
        self.replace(extractor, responder)

    def replace(self, extractor: Extractor, responder: Responder) -> None:
        """Parse and answer with these from now on, as after a reload of the settings."""
        self._read = extractor.read
        self._write = responder.write
        self._last_resort = responder.write(UNAVAILABLE, refused(UNAVAILABLE))

    def check(self, raw: bytes, traceparent: bytes | None = None) -> bytes | Awaitable[bytes]:
        """The serialised CheckResponse: at once on a cache hit, an awaitable when I/O is needed."""
        try:
            if self._unwatched:
                self._unwatched -= 1
                began = None
            else:
                self._unwatched = self._witness.stride
                began = perf_counter()
            request = self._read(raw)
            decision = self._decide(request)
            if isinstance(decision, (Allow, Deny)):
                answer = self._write(decision, request)
                wanted = isinstance(decision, Deny) and self._take_line(decision)
                if wanted:
                    self._saw(decision, request, traceparent, began, wanted=True)
                elif began is not None:
                    self._saw(decision, request, traceparent, began)
                return answer
        except Exception as cause:  # noqa: BLE001  whatever it is, no allow
            return self._fault(cause)
        return self._later(decision, request, traceparent, began or perf_counter())

    async def _later(
        self,
        decision: Awaitable[Decision],
        request: Request,
        traceparent: bytes | None,
        began: float,
    ) -> bytes:
        try:
            found = await decision
            answer = self._write(found, request)
            wanted = isinstance(found, Deny) and self._take_line(found)
            self._saw(found, request, traceparent, began, wanted=wanted, waited=True)
        except Exception as cause:  # noqa: BLE001  as above; a cancelled call is not one of these
            return self._fault(cause)
        return answer

    def _fault(self, cause: Exception) -> bytes:
        """Our own failure."""
        try:
            self._report(cause)
            return self._write(UNAVAILABLE, refused(UNAVAILABLE))
        except Exception:  # noqa: BLE001  the answer is written by what may have failed
            return self._last_resort

    def _report(self, cause: Exception) -> None:
        """Log ever more rarely: who can cause it shall not flood the log.

        Where it happened, never what the exception says: that may quote the request.
        """
        self._faults += 1
        self._probe.count(Event.DECISION_FAULT)
        if self._faults & (self._faults - 1) == 0:
            log.error(
                "a Check failed inside and was answered unavailable (%d so far): %s at\n%s",
                self._faults,
                type(cause).__name__,
                "".join(traceback.format_tb(cause.__traceback__)).rstrip(),
            )
