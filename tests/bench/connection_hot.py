"""Measures a call in the fast transport's connection: `python -m tests.bench.connection_hot`.

Without sockets and without a decision; processor time, so that a busy machine matters little.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

from authz.process.listener import ConnectionLimits
from authz.rpc.h2.connection import Connection
from authz.rpc.h2.flood_budgets import FloodBudgets
from authz.rpc.h2.frame_reader import FrameReader
from authz.rpc.h2.frames import (
    ACK,
    DEFAULT_WINDOW,
    MAX_WINDOW,
    PREFACE,
    FrameType,
    frame,
    settings_frame,
    window_update_frame,
)
from authz.rpc.h2.header_blocks import HeaderBlockDecoder
from authz.rpc.h2.request_bodies import BodyMemory
from authz.rpc.h2.request_headers import RequestHeaders, parse_request_headers
from authz.rpc.h2.responses import PREFIX_BYTES, unframe_message
from authz.rpc.h2.send_queue import SendQueue
from authz.rpc.h2.stream_states import Call
from authz.telemetry import Counters
from tests.bench.figures import machine, offer_record, record
from tests.bench.load import TO_ZERO, Requests
from tests.bench.measured import GRPC

BATCH = 16  # calls in one read
MESSAGE, ANSWER = b"x" * 1000, b"y" * 600
BODY = b"\0" + len(MESSAGE).to_bytes(4) + MESSAGE
PATH = dict(GRPC)[":path"].encode()
GREETING = PREFACE + settings_frame({}) + frame(FrameType.SETTINGS, ACK, 0)
REPEATS, SECONDS = 15, 0.05

PUBLISHED = {
    "step.frames": "frames",
    "step.block": "header block, seen before",
    "step.block_new_trace": "header block, another trace",
    "step.block_decoded": "header block, by hpack",
    "step.message": "message out of its frame",
    "step.answer": "answer in its frames",
}


def cost(step: Callable[[], object], calls: int = 1) -> float:
    """Return microseconds of processor time a call: the median of some repeats."""
    found = []
    for _ in range(REPEATS):
        began, done = time.process_time(), 0
        while (passed := time.process_time() - began) < SECONDS:
            step()
            done += calls
        found.append(passed / done * 1e6)
    return statistics.median(found)


def whole(*, traced: bool) -> Callable[[], None]:
    """Return a step: a read with a batch of calls, and the write that answers them."""
    made = Requests(GRPC, BODY, traced=traced).encoded(itertools.count(1, 2))
    connection = Connection({PATH: bytes}, ConnectionLimits(), BodyMemory(0), Counters(), 0.0)
    connection.receive(GREETING, 0.0)
    connection.receive(window_update_frame(0, MAX_WINDOW - DEFAULT_WINDOW), 0.0)

    def step() -> None:
        for call, _ in connection.receive(b"".join(itertools.islice(made, BATCH)), 0.0):
            connection.responses.respond(call, ANSWER)
        connection.queue.take()

    return step


def sending(*, traced: bool) -> Callable[[], object]:
    """Return a step that makes such a read. Its cost is not the connection's."""
    made = Requests(GRPC, BODY, traced=traced).encoded(itertools.count(1, 2))
    return lambda: b"".join(itertools.islice(made, BATCH))


def blocks() -> dict[str, Callable[[], object]]:
    """Return a step for each way in which a header block is decoded."""

    def fresh() -> HeaderBlockDecoder:
        found = HeaderBlockDecoder(
            lambda fields: parse_request_headers({PATH: bytes}, fields), 16_384
        )
        found.decode(TO_ZERO + block)
        return found

    block = Requests(GRPC).blocks[0]
    traces = itertools.cycle(Requests(GRPC, traced=True).blocks)
    known, pattern, unknown, updated = fresh(), fresh(), fresh(), fresh()
    known.decode(block)
    pattern.decode(next(traces))
    return {
        "header block, seen before": lambda: known.decode(block),
        "header block, another trace": lambda: pattern.decode(next(traces)),
        "header block, behind a size update": lambda: updated.decode(TO_ZERO + block),
        "header block, by hpack": lambda: unknown.fields(block),
    }


def answers() -> Callable[[], None]:
    """Return a step: the write of a batch of responses."""
    outbox = SendQueue()
    calls = [Call(2 * i + 1, RequestHeaders(None), 0.0) for i in range(BATCH)]

    def step() -> None:
        for call in calls:
            outbox.message(call, ANSWER)
        outbox.widen(BATCH * (len(ANSWER) + PREFIX_BYTES))
        outbox.take()

    return step


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    offer_record(parser)
    given = parser.parse_args()
    reader = FrameReader(FloodBudgets(Counters(), 0.0))
    list(reader.read(GREETING))
    read = sending(traced=False)()
    rows = {"frames": cost(lambda: list(reader.read(read)), BATCH)}
    rows |= {name: cost(step) for name, step in blocks().items()}
    rows["message out of its frame"] = cost(lambda: unframe_message(BODY, 1 << 20))
    rows["answer in its frames"] = cost(answers(), BATCH)
    for name, traced in (("whole", False), ("whole, another trace each time", True)):
        both, ours = cost(whole(traced=traced), BATCH), cost(sending(traced=traced), BATCH)
        rows[name] = both - ours
    if given.record:
        record({name: rows[row] for name, row in PUBLISHED.items()})
    print("microseconds a call")
    for name, value in rows.items():
        print(f"  {name:36} {value:6.2f}")
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
