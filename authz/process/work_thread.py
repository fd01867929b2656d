"""WorkThread: makes calls that may hang for ever, in a thread that does not hold up the end.

Python joins the threads of a ThreadPoolExecutor when a process ends. One that waits for a disk
would keep the process from ending.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue


class WorkThread:
    """Makes calls one after the other. The thread begins with the first one.

    A call that nobody waits for any more before it begins is left out. At the end of the process a
    call is cut off wherever it is, so it must leave nothing half done.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[tuple[Future[None], Callable[[], None]]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def begin(self, call: Callable[[], None]) -> asyncio.Future[None]:
        """Return a future of the running loop that is done, or has the error, after the call."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        made = Future[None]()
        self._calls.put((made, call))
        return asyncio.wrap_future(made)

    def _work(self) -> None:
        while True:
            made, call = self._calls.get()
            if not made.set_running_or_notify_cancel():
                continue
            try:
                call()
            except BaseException as cause:  # noqa: BLE001  the caller gets it
                made.set_exception(cause)
            else:
                made.set_result(None)
