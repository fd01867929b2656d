"""Bounds on HTTP clients: how many may be connected, and the time for a request and its response.

Any number of clients may connect to a listener that probes need. So a new client is always served:
at the bound, the connection that has been idle for the longest time is closed.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from h11 import IDLE
from uvicorn.protocols.http.h11_impl import H11Protocol

from authz.console.simple_get import SimpleGet, simple_get

MAX_CONNECTIONS: Final = 64
EXCHANGE_SECONDS: Final = 10.0  # for a request to arrive, and its response to be read; a default


ReadyResponse = Callable[[SimpleGet], bytes | None]
"""Returns the whole response to a request, or None if it is not ready."""


class HttpConnections:
    """The open connections of one listener. `protocol` makes one, for uvicorn's `http` option.

    exchange_seconds: the time of each connection for a request and its response. ready: responses
    that are there already. Such a response costs a fifth of one that uvicorn makes.
    """

    def __init__(
        self, exchange_seconds: float = EXCHANGE_SECONDS, ready: ReadyResponse = lambda _: None
    ) -> None:
        self.exchange_seconds = exchange_seconds
        self.ready = ready
        self._open: dict[BoundedHttpProtocol, None] = {}  # the longest without an exchange first
        self.protocol: Callable[..., BoundedHttpProtocol] = partial(BoundedHttpProtocol, self)

    def add(self, connection: "BoundedHttpProtocol") -> None:
        """Note a new connection. At MAX_CONNECTIONS (64), abort another first.

        That is the connection longest without an exchange among the idle ones, or among all if none
        is idle.
        """
        if len(self._open) >= MAX_CONNECTIONS:
            oldest = next(iter(self._open))
            closed = next((each for each in self._open if each.is_idle), oldest)
            self.remove(closed)
            closed.transport.abort()
        self._open[connection] = None

    def renew(self, connection: "BoundedHttpProtocol") -> None:
        """Note that a connection has completed an exchange. No-op if it was removed."""
        if connection in self._open:
            del self._open[connection]
            self._open[connection] = None

    def remove(self, connection: "BoundedHttpProtocol") -> None:
        """Note that a connection has closed. No-op if it was removed before."""
        self._open.pop(connection, None)


class BoundedHttpProtocol(H11Protocol):
    """A connection that is aborted if no exchange completes for `exchange_seconds`.

    The time begins with the connection and with each complete response.
    """

    def __init__(self, connections: HttpConnections, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._others = connections
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        """True if no request is being answered, also before the first request."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Add the connection, which may abort another, and start the exchange timer."""
        self._others.add(self)
        super().connection_made(transport)
        self._restart_timer()

    def data_received(self, data: bytes) -> None:
        """Send the response if it is ready, else let uvicorn read the request.

        Uvicorn also gets it while an earlier response is not read: it waits, so no memory fills.
        """
        if self.transport.is_closing():
            return
        is_read = self.is_idle and not self.transport.get_write_buffer_size()
        if is_read and self.conn.their_state is IDLE and not self.conn.trailing_data[0]:
            request = simple_get(data)
            response = self._others.ready(request) if request else None
            if request is not None and response is not None:
                self.transport.write(response)
                if request.close:
                    self.transport.close()
                else:
                    self._others.renew(self)
                    self._restart_timer()
                return
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Note the completed exchange, and restart the exchange timer."""
        self._others.renew(self)
        self._restart_timer()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection, and stop the exchange timer."""
        self._others.remove(self)
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _restart_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(self._others.exchange_seconds, self._expire)

    def _expire(self) -> None:
        """Close a connection between two exchanges; abort one within an exchange."""
        if self.is_idle and not self.transport.get_write_buffer_size():
            self.transport.close()
        else:
            self.transport.abort()
