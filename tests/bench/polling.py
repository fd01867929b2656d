"""Load without an event loop: each call is sent when it is due, and timed from then on.

A process that sleeps takes tens of microseconds to wake on a virtual machine, more than a whole
call costs. With a core of its own the load may spin instead; what sleeps and wakes is the server.
"""

import itertools
import random
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from authz.core.listen_address import Address
from tests.bench.load import Connection, Requests, Tally, close

PATIENCE = 10.0  # seconds for the last answers
SO_TIMESTAMPNS = 35  # of Linux: each read tells when its last byte arrived
TIMESPEC = struct.Struct("@qq")
TOLD = socket.CMSG_SPACE(TIMESPEC.size)


class Polled:
    """A socket that looks like a transport to a Connection.

    arrived_at: when the last data of the server arrived in our kernel, however late it was read.
    is_blocked: whether the last write had to wait for the server. Times are of the wall clock.
    """

    def __init__(self, address: Address) -> None:
        self.arrived_at, self.is_blocked = 0.0, False
        if address.path:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(address.path)
        else:
            self.socket = socket.create_connection((address.host, address.port))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.abort = self.socket.close

    def write(self, data: bytes) -> None:
        """Send all of it. If the server does not read, wait."""
        try:
            sent = self.socket.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        self.is_blocked = sent < len(data)
        if self.is_blocked:
            self.socket.sendall(data[sent:])

    def poll(self, connection: Connection) -> None:
        """Hand over what has come, if anything has."""
        try:
            data, told, _, _ = self.socket.recvmsg(1 << 18, TOLD, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        self.arrived_at = _stamp(told) or time.time()
        if data:
            connection.data_received(data)
        else:
            connection.connection_lost(None)


def _stamp(told: list[tuple[int, int, bytes]]) -> float | None:
    """Return the time in the control messages of a read. None from a kernel that tells none."""
    for _, kind, value in told:
        if kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = TIMESPEC.unpack_from(value)
            return seconds + nanoseconds / 1e9
    return None


@contextmanager
def polled(
    address: Address, requests: Requests, count: int, on_end: Callable[[Connection, int], None]
) -> Iterator[tuple[list[Connection], Callable[[float], None]]]:
    """So many connections, settings exchanged, and what polls them all, at most so many seconds."""
    with ExitStack() as stack:
        pairs = [(Polled(address), Connection(requests, on_end)) for _ in range(count)]

        def poll(seconds: float) -> None:
            if seconds > 0:
                select.select(sockets, [], [], seconds)
            for transport, connection in pairs:
                transport.poll(connection)

        sockets = [transport.socket for transport, _ in pairs]
        opened = [connection for _, connection in pairs]
        stack.callback(close, opened)
        for transport, connection in pairs:
            connection.connection_made(transport)
        while not all(connection.ready or connection.failed for connection in opened):
            poll(PATIENCE)
        yield opened, poll


def one_at_a_time(
    address: Address, requests: Requests, *, seconds: float, spin: bool = True
) -> Tally:
    """One call after the other. Warms up for a fifth, and then measures at least one answer.

    spin: nobody else needs the core of the load.
    """
    tally, waiting = Tally(), False

    def on_end(_connection: Connection, _stream_id: int) -> None:
        nonlocal waiting
        waiting = False

    clock = time.perf_counter
    began = clock() + seconds / 5
    with polled(address, requests, 1, on_end) as ((connection,), poll):
        while ((sent_at := clock()) < began + seconds or not tally.latencies) and (
            not connection.failed
        ):
            waiting = True
            connection.send()
            while waiting and not connection.failed:
                poll(0 if spin else PATIENCE)
            if sent_at >= began:
                tally.latencies.append(clock() - sent_at)
    tally.answered = len(tally.latencies)
    return tally


@dataclass
class Flow:
    """Requests at random times, `rate` a second, in turn over some connections.

    pause: seconds between two looks for answers. A look takes longer than to send a request, and
    slows the other core down. answered, waiting: how many have an answer, and how many do not.
    """

    requests: Requests
    rate: float
    pause: float = 0.0
    answered: int = 0
    waiting: int = 0

    def begin(
        self, opened: list[Connection], poll: Callable[[float], None], seed: int, now: float
    ) -> None:
        """Send over these connections from now on. seed: the times are those of each run."""
        self._opened, self._turns, self._poll = opened, itertools.cycle(opened), poll
        self._random, self.due, self._look_at = random.Random(seed), now, now

    def end(self, _connection: Connection, _stream_id: int) -> None:
        """Note an answer."""
        self.answered += 1
        self.waiting -= 1

    def send(self, now: float, note: Callable[[Connection, float], None] | None = None) -> None:
        """Send what is due, in one write for each connection. note: is told each with its time."""
        wanted = dict.fromkeys(self._opened, 0)
        while self.due <= now:
            connection = next(self._turns)
            if note is not None:
                note(connection, self.due)
            wanted[connection] += 1
            self.due += self._random.expovariate(self.rate)
        for connection, count in wanted.items():
            if count:
                self.waiting += count
                connection.send(count)

    def look(self, now: float, wait: float) -> None:
        """Wait so many seconds for answers. 0: only look, if a look is due and any is missing."""
        if wait > 0 or (self.waiting and self._look_at <= now):
            self._look_at = now + self.pause
            self._poll(wait)


def _are_held(opened: list[Connection]) -> bool:
    """Return whether the server holds up what is to be sent."""
    return any(one.transport.is_blocked or one.is_held for one in opened)


def pace(
    address: Address,
    requests: Requests,
    *,
    connections: int,
    rate: float,
    seconds: float,
    spin: bool,
    beside: Flow | None = None,
) -> Tally:
    """So many a second, at random times, whether the server keeps up or not.

    What is due at once goes out in one write. spin: nobody else needs the core of the load. beside:
    other requests over as many connections of their own, which are not timed.

    latencies: from when a request was due until we have read its answer. served: without our own
    delays, from the write until the answer arrived in our kernel. If the server held a write up,
    all requests that were due until then count from when they were due, so no omission is hidden.
    """
    tally, sent = Tally(), {}
    clock, timed = time.time, Flow(requests, rate)
    held_until = 0.0
    flows = [timed, beside] if beside else [timed]
    with ExitStack() as stack:
        everyone = list[Connection]()
        ids: dict[Connection, int] = {}

        def note(connection: Connection, due: float) -> None:
            sent[connection, ids[connection]] = (due, due if due <= held_until else now)
            ids[connection] += 2
            tally.late.append(now - due)

        def on_end(connection: Connection, stream_id: int) -> None:
            due, began = sent.pop((connection, stream_id))
            tally.latencies.append(clock() - due)
            tally.served.append(connection.transport.arrived_at - began)
            timed.end(connection, stream_id)

        for seed, flow in enumerate(flows, 1):
            heard = on_end if flow is timed else flow.end
            opened, poll = stack.enter_context(polled(address, flow.requests, connections, heard))
            flow.begin(opened, poll, seed, clock())
            ids |= dict.fromkeys(opened, 1)
            everyone += opened
        end = timed.due + seconds
        while (now := clock()) < end:
            for flow in flows:
                if flow.due <= now:
                    flow.send(now, note if flow is timed else None)
                    held_until = clock() if _are_held(everyone) else held_until
            wait = 0 if spin or beside else min(timed.due, end) - clock()
            for flow in flows:
                flow.look(now, wait)
        while any(flow.waiting for flow in flows) and clock() < end + PATIENCE:
            for flow in flows:
                flow.look(clock(), 0.001)
    tally.answered, tally.failed = timed.answered, len(sent)
    return tally
