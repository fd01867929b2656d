"""State that the connections of one server share, and the bound on their number."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from authz.core.events import Event
from authz.core.ports import Probe
from authz.process.listener import ConnectionLimits
from authz.rpc.h2.request_bodies import BodyMemory
from authz.rpc.h2.request_headers import MethodHandler


class OpenConnection(Protocol):
    """A connection of the server."""

    @property
    def is_idle(self) -> bool:
        """True if the connection has no call."""
        ...

    def drain(self) -> None:
        """Begin a graceful end, and close once every call is answered."""
        ...

    def abort(self) -> None:
        """Close at once. Calls that are not answered get no response."""
        ...


@dataclass(slots=True)
class ServerState:
    """State that the connections of one server share."""

    handlers: Mapping[bytes, MethodHandler]  # by :path
    limits: ConnectionLimits
    memory: BodyMemory
    probe: Probe
    max_connections: int
    replaces_idle: bool = False  # whether a client over the bound replaces the oldest idle one
    open: dict[OpenConnection, None] = field(default_factory=dict)  # the oldest first
    handshakes: int = 0  # TLS handshakes under way
    changed: asyncio.Event = field(default_factory=asyncio.Event)  # set when one has closed
    stopping: bool = False
    tokens: tuple[bytes, ...] = ()  # of which each call needs one; empty: none
    traced: bool = False  # whether handlers get the call's traceparent

    def admit(self) -> bool:
        """Return whether one more client may connect.

        TLS handshakes under way count as connections. At `max_connections`, abort the oldest idle
        connection if `replaces_idle` is set, and return True. If there is none, count
        H2_CONNECTION_REFUSED and return False.
        """
        if len(self.open) + self.handshakes < self.max_connections:
            return True
        idle = (each for each in self.open if each.is_idle) if self.replaces_idle else iter(())
        oldest = next(idle, None)
        if oldest is None:
            self.probe.count(Event.H2_CONNECTION_REFUSED)
            return False
        oldest.abort()
        del self.open[oldest]
        return True
