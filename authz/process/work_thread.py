"""WorkThread: makes calls that may hang for ever, in a thread that does not hold up the end.

Python joins the threads of a ThreadPoolExecutor when a process ends. One that waits for a disk
would keep the process from ending.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue

Work = Callable[[], None]
_Begun = tuple[Future[None], asyncio.Future[None], Work]


class WorkThread:
    """Makes calls one after the other. The thread begins with the first one.

    A call that nobody waits for any more before it begins is left out. At the end of the process a
    call is cut off wherever it is, so it must leave nothing half done. A call may have a secret:
    the waiting thread holds none.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[_Begun] = SimpleQueue()
        self._running: asyncio.Future[None] | None = None
        self._thread: threading.Thread | None = None

    def begin(self, call: Work) -> asyncio.Future[None] | None:
        """Return a future of the running loop that is done, or has the error, after the call.

        Return None while a call still runs that nobody waits for any more: it may run for days, and
        the calls behind it would fill the memory.
        """
        running = self._running
        if running is not None and running.cancelled():
            return None
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        made = Future[None]()
        waiting = asyncio.wrap_future(made)
        self._calls.put((made, waiting, call))
        return waiting

    def _work(self) -> None:
        while True:
            self._make(*self._calls.get())

    def _make(self, made: Future[None], waiting: asyncio.Future[None], call: Work) -> None:
        if not made.set_running_or_notify_cancel():
            return
        self._running = waiting
        try:
            call()
        except BaseException as cause:  # noqa: BLE001  the caller gets it
            self._running = None
            made.set_exception(cause)
        else:
            self._running = None
            made.set_result(None)
        finally:
            del made, waiting, call  # an error keeps this frame
