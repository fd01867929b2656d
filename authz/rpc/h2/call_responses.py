"""The responses of the calls of one connection, which wait for the client's windows."""

from authz.rpc.h2.flood_budgets import FloodBudgets
from authz.rpc.h2.responses import Response
from authz.rpc.h2.send_queue import SendQueue
from authz.rpc.h2.stream_states import ANSWERING, CLOSED, Call


class CallResponses:
    """Queues responses, and closes the calls that have theirs. calls: the open ones by stream id.

    A closed call is removed from `calls`, and refills the flood budgets.
    """

    __slots__ = ("_budgets", "_calls", "_queue")

    def __init__(self, calls: dict[int, Call], queue: SendQueue, budgets: FloodBudgets) -> None:
        self._calls = calls
        self._queue = queue
        self._budgets = budgets

    def respond(self, call: Call, message: bytes) -> None:
        """Queue a message with status OK. No-op unless the call is ANSWERING and has no response.

        Bytes that exceed the client's windows wait. The call closes when the last one is queued.
        """
        unanswered = call.state is ANSWERING and call.response is None
        if unanswered and self._queue.message(call, message):
            call.state = CLOSED  # as _close
            self._budgets.answered += 1
            del self._calls[call.id]

    def refuse(self, call: Call, response: Response) -> None:
        """Queue a ready-made response. No-op unless the call is ANSWERING and has no response.

        Bytes that exceed the client's windows wait. The call closes when the last one is queued.
        """
        unanswered = call.state is ANSWERING and call.response is None
        if unanswered and self._queue.response(call, response):
            self._close(call)

    def send_waiting(self) -> None:
        """Queue the waiting bytes that the windows allow.

        Close the calls whose response is complete.
        """
        for call in self._queue.send_waiting():
            self._close(call)

    def _close(self, call: Call) -> None:
        call.state = CLOSED
        self._budgets.answered += 1
        del self._calls[call.id]
