"""CheckHandler: CheckRequest bytes in, CheckResponse bytes out, over any transport."""

import logging
import sys
import traceback
from collections.abc import Awaitable
from time import perf_counter
from typing import TYPE_CHECKING, Final

from authz.core.decision import Allow, Decision, Deny, Reason
from authz.core.events import Event
from authz.core.ports import CheckObserver, Probe, ResponseIds
from authz.core.request import Request
from authz.rpc.check.extract import Extractor, refused
from authz.rpc.check.refuse import response_ids
from authz.rpc.check.respond import Responder

if TYPE_CHECKING:
    from authz.flows.check import Checker
    from authz.flows.partitioned.check import PartitionedChecker

log = logging.getLogger("authz.check")

UNAVAILABLE: Final = Deny(Reason.UNAVAILABLE)


class NullObserver:
    """A CheckObserver that records nothing."""

    stride = sys.maxsize

    def take_line(self, _decision: Deny) -> bool:
        """Return False: no refusal gets a log line."""
        return False

    def observe(
        self,
        decision: Decision,
        request: Request,
        traceparent: bytes | None,
        began: float | None,
        *,
        ids: ResponseIds | None = None,
        waited: bool = False,
    ) -> None:
        """Record nothing."""


class CheckHandler:
    """Handles CheckRequests. The response is always a decision.

    An exception inside is counted, logged without its text, and decided as UNAVAILABLE. As any
    refusal, that is only reported on a route that does not enforce.
    """

    def __init__(
        self,
        extractor: Extractor,
        checker: "Checker | PartitionedChecker",
        responder: Responder,
        probe: Probe,
        observer: CheckObserver = NullObserver(),  # noqa: B008  it has no state
    ) -> None:
        self._probe = probe
        self._observer = observer
        self._take_line, self._observe = observer.take_line, observer.observe
        self._untimed = 0  # how many Checks come before the next timed one
        self._faults = 0
        self._unread = refused(UNAVAILABLE)
        self.replace(extractor, responder, checker)

    def replace(
        self,
        extractor: Extractor,
        responder: Responder,
        checker: "Checker | PartitionedChecker | None" = None,
    ) -> None:
        """Use another extractor and responder from now on, as after a reload of the settings.

        Checks that wait for I/O also get their response from the new responder. checker: decides
        from now on; None: as before.
        """
        if checker is not None:
            self._decide = checker.check
        self._read = extractor.read
        self._write = responder.write
        # Sent many times or never, so its charge id is not one of those that count.
        self._last_resort = responder.refuse_uncounted(UNAVAILABLE, self._unread)

    def check(self, raw: bytes, traceparent: bytes | None = None) -> bytes | Awaitable[bytes]:
        """Return the serialised CheckResponse, or an awaitable of it if I/O is needed.

        Neither raises for an Exception inside: the decision is then UNAVAILABLE. A Check is offered
        to the observer if it is timed, is refused with a log line, or has to wait. traceparent: of
        the call.
        """
        request = self._unread
        try:
            if self._untimed:
                self._untimed -= 1
                began = None
            else:
                self._untimed = self._observer.stride
                began = perf_counter()
            request = self._read(raw)
            decision = self._decide(request)
            if isinstance(decision, Allow):
                response = self._write(decision, request)
                if began is not None:
                    self._observe(decision, request, traceparent, began)
                return response
            if isinstance(decision, Deny):
                return self._refuse(decision, request, traceparent, began)
        except Exception as cause:  # noqa: BLE001  no exception may become an allow
            return self._fault(cause, request)
        return self._later(decision, request, traceparent, began or perf_counter())

    def _refuse(
        self, decision: Deny, request: Request, traceparent: bytes | None, began: float | None
    ) -> bytes:
        response = self._write(decision, request)
        if self._take_line(decision):
            ids = response_ids(request, response)
            self._observe(decision, request, traceparent, began, ids=ids)
        elif began is not None:
            self._observe(decision, request, traceparent, began)
        return response

    async def _later(
        self,
        deciding: Awaitable[Decision],
        request: Request,
        traceparent: bytes | None,
        began: float,
    ) -> bytes:
        try:
            decision = await deciding
            response = self._write(decision, request)
            ids = None
            if isinstance(decision, Deny) and self._take_line(decision):
                ids = response_ids(request, response)
            self._observe(decision, request, traceparent, began, ids=ids, waited=True)
        except Exception as cause:  # noqa: BLE001  as above; a cancelled call raises no Exception
            return self._fault(cause, request)
        return response

    def _fault(self, cause: Exception, request: Request) -> bytes:
        """Count and log a bug, and return the response UNAVAILABLE.

        A route that does not enforce may still allow it; a request that could not be read is never
        allowed.
        """
        try:
            self._log(cause)
            return self._write(UNAVAILABLE, request)
        except Exception:  # noqa: BLE001  writing the response may be the bug
            return self._last_resort

    def _log(self, cause: Exception) -> None:
        """Count a fault. Log the 1st, 2nd, 4th, 8th and so on, so no caller can flood the log.

        The line says where it happened. The text of the exception is left out: it may quote the
        request.
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
