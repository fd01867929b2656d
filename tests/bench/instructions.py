"""Python's instructions for a call, by step and function: `python -m tests.bench.instructions`.

A count is the same on a slow and on a busy machine, so it shows where a call's Python goes, and
what a change takes away. It says nothing of the work inside of C: protobuf, hashes, the kernel. A
whole call is measured by cpu_per_call.
"""

import argparse
import asyncio
import itertools
import sys
from collections import Counter
from pathlib import Path
from types import FrameType as PythonFrame
from typing import Any

import authz
from authz.process.listener import ConnectionLimits
from authz.rpc.h2.frames import ACK, PREFACE, FrameType, frame, settings_frame
from authz.rpc.h2.protocol import H2Protocol
from authz.rpc.h2.request_bodies import BodyMemory
from authz.rpc.h2.server_state import ServerState
from authz.rpc.services import CHECK_SERVICE
from authz.telemetry import Counters
from tests.bench.check_hot import Hot
from tests.bench.load import Requests
from tests.bench.measured import GRPC

BATCH = 16  # calls in one read
ROOT = Path(authz.__file__).parent
STEPS = {  # by the beginning of a module's path; the first that fits
    "rpc/h2": "transport",
    "rpc/check/handler.py": "handler",
    "rpc/check/respond.py": "answer",
    "rpc/check/usage.py": "answer",
    "rpc/check": "read the request",
    "core/keys/keyring.py": "read the request",
    "core/request.py": "read the request",
    "": "decide",
}


class Sink(asyncio.Transport):
    """A transport that counts what is written. written: bytes."""

    written = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Count the bytes."""
        self.written += len(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Have no limit."""


async def counted(
    hot: Hot, form: str, *, traced: bool
) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    """Return the instructions of a read of BATCH calls, by step, and by step and function."""
    raw = hot.requests[form]
    requests = Requests(GRPC, b"\0" + len(raw).to_bytes(4) + raw, traced=traced)
    state = ServerState(
        handlers={f"/{CHECK_SERVICE}/Check".encode(): hot.door.check},
        limits=ConnectionLimits(),
        memory=BodyMemory(1 << 20),
        probe=hot.probe,
        max_connections=1,
    )
    sink, protocol = Sink(), H2Protocol(state)
    protocol.connection_made(sink)
    greeting = settings_frame({})
    protocol.data_received(PREFACE + greeting + frame(FrameType.SETTINGS, ACK, 0))
    made = requests.encoded(itertools.count(1, 2))
    for _ in range(2):  # what is remembered is remembered now
        protocol.data_received(b"".join(itertools.islice(made, BATCH)))
    read = b"".join(itertools.islice(made, BATCH))
    steps: Counter[str] = Counter()
    functions: Counter[tuple[str, str]] = Counter()

    def trace(at: PythonFrame, event: str, _argument: Any) -> Any:
        at.f_trace_opcodes, at.f_trace_lines = True, False
        if event == "opcode":
            step = step_of(at.f_code.co_filename)
            steps[step] += 1
            functions[step, at.f_code.co_qualname] += 1
        return trace

    before = sink.written
    sys.settrace(trace)
    try:
        protocol.data_received(read)
    finally:
        sys.settrace(None)
    if sink.written - before < BATCH * 100:
        raise SystemExit("the calls were not answered at once")
    return steps, functions


def step_of(file: str) -> str:
    """Return the step to which the code of a file belongs."""
    path = Path(file)
    name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ""
    return next(step for beginning, step in STEPS.items() if name.startswith(beginning))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--functions", type=int, default=12, help="of which to show most")
    given = parser.parse_args()
    columns = {"map": ("map", False), "another trace": ("map", True), "raw": ("raw", False)}
    hot = Hot(Counters())
    found = {
        name: asyncio.run(counted(hot, form, traced=traced))
        for name, (form, traced) in columns.items()
    }
    print(f"{'instructions a call':24}" + "".join(f"{name:>16}" for name in found))
    for step in dict.fromkeys(STEPS.values()):
        print(f"{step:24}" + "".join(f"{of[step] / BATCH:16.0f}" for of, _ in found.values()))
    print(f"{'all':24}" + "".join(f"{of.total() / BATCH:16.0f}" for of, _ in found.values()))
    print()
    for (step, name), count in found["map"][1].most_common(given.functions):
        print(f"{step:24}{count / BATCH:16.0f}  {name}")


if __name__ == "__main__":
    main()
