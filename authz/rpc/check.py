"""The door of a Check: bytes in, bytes out, whichever transport carries them."""

import logging
import sys
import traceback
from collections.abc import Awaitable
from typing import Final

from authz.core.decision import Allow, Decision, Deny, Reason
from authz.core.ports import Event, Probe, Watch, Witness
from authz.core.request import Request
from authz.flows.check import Checker
from authz.rpc.extract import Extractor, refused
from authz.rpc.respond import Responder

log = logging.getLogger("authz.check")

UNAVAILABLE: Final = Deny(Reason.UNAVAILABLE)


class Nobody:
    """A Witness that looks away."""

    def begin(self, _raw: bytes, _traceparent: bytes | None) -> tuple[int, Watch | None]:
        """See Witness."""
        return sys.maxsize, None

    def wait(self, _watch: Watch | None, _traceparent: bytes | None) -> Watch:
        """See Witness."""
        return lambda _decision, _request: None

    def refused(self, decision: Deny, request: Request, traceparent: bytes | None) -> None:
        """See Witness."""


class CheckDoor:
    """Answers CheckRequests. Whatever comes in, the answer is a decision; a bug is UNAVAILABLE."""

    def __init__(
        self,
        extractor: Extractor,
        checker: Checker,
        responder: Responder,
        probe: Probe,
        witness: Witness = Nobody(),  # noqa: B008  it has no state
    ) -> None:
        self._read = extractor.read
        self._decide = checker.check
        self._write = responder.write
        self._probe = probe
        self._witness = witness
        self._unwatched = 0  # how many Checks the witness need not be asked about
        self._faults = 0
        self._last_resort = responder.write(UNAVAILABLE, refused(UNAVAILABLE))

    def check(self, raw: bytes, traceparent: bytes | None = None) -> bytes | Awaitable[bytes]:
        """The serialised CheckResponse: at once on a cache hit, an awaitable when I/O is needed."""
        watch = None
        try:
            if self._unwatched:
                self._unwatched -= 1
            else:
                self._unwatched, watch = self._witness.begin(raw, traceparent)
            request = self._read(raw)
            decision = self._decide(request)
            if watch is None and decision.__class__ is Allow:
                return self._write(decision, request)
            if isinstance(decision, (Allow, Deny)):
                return self._answer(decision, request, watch, traceparent)
            watch = self._witness.wait(watch, traceparent)
        except Exception as cause:  # noqa: BLE001  whatever it is, no allow
            return self._fault(cause)
        return self._later(decision, request, watch)

    async def _later(self, decision: Awaitable[Decision], request: Request, watch: Watch) -> bytes:
        try:
            return self._answer(await decision, request, watch, None)
        except Exception as cause:  # noqa: BLE001  as above; a cancelled call is not one of these
            return self._fault(cause)

    def _answer(
        self, decision: Decision, request: Request, watch: Watch | None, traceparent: bytes | None
    ) -> bytes:
        answer = self._write(decision, request)
        if watch is not None:
            watch(decision, request)
        elif isinstance(decision, Deny):
            self._witness.refused(decision, request, traceparent)
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
