"""Compares our connection with the h2 library: `python -m tests.bench.h2_library`.

Both get the same bytes of a client and answer the same calls with the same message. There are no
sockets and no decision; processor time is counted. Needs the h2 package, which is not installed.
"""

import importlib
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

from authz.process.listener import ConnectionLimits
from authz.rpc.h2.connection import Connection
from authz.rpc.h2.frames import ACK, PREFACE, FrameType, frame, settings_frame, window_update_frame
from authz.rpc.h2.request_bodies import BodyMemory
from authz.rpc.h2.responses import MESSAGE_PREFIX, unframe_message
from authz.telemetry import Counters
from tests.bench.figures import machine
from tests.bench.load import Requests
from tests.bench.measured import GRPC

MESSAGE, REPLY = b"x" * 1000, b"y" * 600
BODY = MESSAGE_PREFIX.pack(0, len(MESSAGE)) + MESSAGE
PATH = dict(GRPC)[":path"].encode()
GREETING = PREFACE + settings_frame({}) + frame(FrameType.SETTINGS, ACK, 0)
BATCHES = (1, 16)  # calls in one read
ROUNDS, SECONDS = 21, 0.05

Receive = Callable[[bytes], bytes]


def ours() -> Receive:
    """Return a function that gives our connection the bytes of calls and returns its answer."""
    connection = Connection({PATH: bytes}, ConnectionLimits(), BodyMemory(0), Counters(), 0.0)
    connection.receive(GREETING, 0.0)

    def receive(data: bytes) -> bytes:
        for call, _ in connection.receive(data, 0.0):
            connection.responses.respond(call, REPLY)
        return connection.queue.take()

    return receive


def theirs(h2: ModuleType) -> Receive:
    """Return the same function for the h2 library, which is used as its documentation shows."""
    config = h2.config.H2Configuration(client_side=False, header_encoding=None)
    connection = h2.connection.H2Connection(config)
    connection.initiate_connection()
    connection.receive_data(GREETING)
    bodies: dict[int, bytes] = {}

    def answer(stream_id: int) -> None:
        assert unframe_message(bodies.pop(stream_id), 1 << 20) == MESSAGE
        head = [(b":status", b"200"), (b"content-type", b"application/grpc")]
        connection.send_headers(stream_id, head)
        connection.send_data(stream_id, MESSAGE_PREFIX.pack(0, len(REPLY)) + REPLY)
        connection.send_headers(stream_id, [(b"grpc-status", b"0")], end_stream=True)

    def take(event: Any) -> None:
        if isinstance(event, h2.events.DataReceived):
            connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            bodies[event.stream_id] = bodies.get(event.stream_id, b"") + event.data
        elif isinstance(event, h2.events.StreamEnded):
            answer(event.stream_id)

    def receive(data: bytes) -> bytes:
        for event in connection.receive_data(data):
            take(event)
        return connection.data_to_send()

    return receive


def microseconds(receive: Receive, calls: "itertools.chain[bytes]", batch: int) -> float:
    """Return the processor time of one call, without the time to make its bytes."""
    spent, done = 0.0, 0
    while spent < SECONDS:
        data = b"".join(itertools.islice(calls, batch))
        began = time.process_time()
        sent = receive(data)
        spent += time.process_time() - began
        done += batch
        assert len(sent) > batch * len(REPLY)
        receive(window_update_frame(0, batch * (len(REPLY) + MESSAGE_PREFIX.size)))
    return spent / done * 1e6


def main() -> None:
    """Measure both in turns and print the medians."""
    try:
        h2 = importlib.import_module("h2")
        for part in ("config", "connection", "events"):
            importlib.import_module(f"h2.{part}")
    except ImportError:
        sys.exit("skipped: the h2 package is not installed (pip install h2)")
    print(f"microseconds of processor time a call, bytes to bytes; h2 {h2.__version__}")
    for traced, batch in itertools.product((False, True), BATCHES):
        found: dict[str, list[float]] = {"ours": [], "h2": []}
        calls = {
            name: Requests(GRPC, BODY, traced=traced).encoded(itertools.count(1, 2))
            for name in found
        }
        receive = {"ours": ours(), "h2": theirs(h2)}
        for _, name in itertools.product(range(ROUNDS), found):
            found[name].append(microseconds(receive[name], calls[name], batch))
        a, b = (statistics.median(found[name]) for name in ("ours", "h2"))
        kind = "another trace in each call" if traced else "the same headers in each call"
        print(f"  {kind}, {batch:2} a read: ours {a:6.1f}, h2 {b:6.1f}, ratio {b / a:5.1f}")
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
