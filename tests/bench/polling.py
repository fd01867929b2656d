"""Load without an event loop: each call is sent when it is due, and timed from then on.

A process that sleeps takes tens of microseconds to wake on a virtual machine, more than a whole
call costs. With a core of its own the load may spin instead; what sleeps and wakes is the server.
"""

import itertools
import random
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from authz.core.listen_address import Address
from tests.bench.load import Connection, Requests, Tally, close

PATIENCE = 10.0  # seconds for the last answers


class Polled:
    """A socket that looks like a transport to a Connection."""

    def __init__(self, address: Address) -> None:
        if address.path:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(address.path)
        else:
            self.socket = socket.create_connection((address.host, address.port))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.write = self.socket.sendall
        self.abort = self.socket.close

    def poll(self, connection: Connection) -> None:
        """Hand over what has come, if anything has."""
        try:
            data = self.socket.recv(1 << 18, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        if data:
            connection.data_received(data)
        else:
            connection.connection_lost(None)


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


def one_at_a_time(address: Address, requests: Requests, *, seconds: float) -> Tally:
    """One call after the other. Warms up for a fifth."""
    tally, waiting = Tally(), False

    def on_end(_connection: Connection, _stream_id: int) -> None:
        nonlocal waiting
        waiting = False

    clock = time.perf_counter
    began = clock() + seconds / 5
    with polled(address, requests, 1, on_end) as ((connection,), poll):
        while (sent_at := clock()) < began + seconds and not connection.failed:
            waiting = True
            connection.send()
            while waiting and not connection.failed:
                poll(0)
            if sent_at >= began:
                tally.latencies.append(clock() - sent_at)
    tally.answered = len(tally.latencies)
    return tally


def pace(
    address: Address,
    requests: Requests,
    *,
    connections: int,
    rate: float,
    seconds: float,
    spin: bool,
) -> Tally:
    """So many a second, at random times, whether the server keeps up or not.

    What is due at once goes out in one write. spin: nobody else needs the core of the load.
    """
    tally, sent = Tally(), {}

    def on_end(connection: Connection, stream_id: int) -> None:
        tally.latencies.append(clock() - sent.pop((connection, stream_id)))

    clock, made = time.perf_counter, random.Random(1)
    with polled(address, requests, connections, on_end) as (opened, poll):
        turns, ids = itertools.cycle(opened), dict.fromkeys(opened, 1)
        due = clock()
        end = due + seconds
        while due < end:
            now, wanted = clock(), dict.fromkeys(opened, 0)
            while due <= now:
                connection = next(turns)
                sent[connection, ids[connection]] = due  # when it should have gone
                ids[connection] += 2
                wanted[connection] += 1
                tally.late.append(now - due)
                due += made.expovariate(rate)
            for connection, count in wanted.items():
                if count:
                    connection.send(count)
            poll(0 if spin else due - clock())
        while sent and clock() < end + PATIENCE:
            poll(0.001)
    tally.answered, tally.failed = len(tally.latencies), len(sent)
    return tally
