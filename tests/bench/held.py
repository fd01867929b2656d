"""Measures how long one input of a client holds the event loop: `python -m tests.bench.held`.

Frames: one turn of a connection with 32 KiB of each small frame. Header blocks: one of the greatest
size. Requests: one Check with 60 KiB of a client's text in each part, with 999 rules.
Processor time, the least of some runs, so that a busy machine matters little.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from hpack import Encoder

from authz.core.route_facts import Facts
from authz.core.route_rule import Rule
from authz.core.routes import RouteTable
from authz.process.listener import ConnectionLimits
from authz.rpc.h2.connection import Connection
from authz.rpc.h2.frames import ACK, PREFACE, FrameType, frame, settings_frame
from authz.rpc.h2.protocol import TURN
from authz.rpc.h2.request_bodies import BodyMemory
from authz.rpc.h2.server import MAX_HEADER_BYTES
from authz.telemetry.counters import Counters
from tests.bench.measured import GRPC
from tests.support.rpc.door import Door
from tests.support.rpc.messages import check_request
from tests.support.rpc.reading import KEY

MOST_MS: Final = 5.0
RUNS: Final = 5
CLIENT: Final = 60 * 1024  # of a client's text that Envoy sends on: max_request_headers_kb
PATH: Final = dict(GRPC)[":path"].encode()
GREETING: Final = PREFACE + settings_frame({}) + frame(FrameType.SETTINGS, ACK, 0)
LIMITS: Final = ConnectionLimits(trusted=True)

VERBS: Final = ((), ("GET", "POST"))
Work = Callable[[], object]


def least(made: Callable[[], Work]) -> float:
    """Return the milliseconds of processor time of the fastest run. made: prepares a run."""
    found = []
    for _ in range(RUNS):
        work = made()
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found) * 1e3


def greeted(limits: ConnectionLimits = LIMITS, before: bytes = b"") -> Connection:
    """Return a connection that has read `before` behind the greeting."""
    connection = Connection({PATH: bytes}, limits, BodyMemory(1 << 24), Counters(), 0.0)
    connection.receive(GREETING + before, 0.0)
    while connection.has_input:
        connection.receive(b"", 0.0)
    connection.queue.take()
    return connection


def call(stream_id: int, flags: int = 0x4) -> bytes:
    """Return the HEADERS of a call."""
    encoder = Encoder()
    encoder.header_table_size = 0
    return frame(FrameType.HEADERS, flags, stream_id, encoder.encode(list(GRPC)))


def frames() -> Iterator[tuple[str, Callable[[], Work]]]:
    """Yield a name and a preparation for each kind of frame that fills one read."""
    opened = b"".join(call(n) for n in range(1, 2049, 2))
    one = {
        "DATA of one byte": lambda n: frame(FrameType.DATA, 0, 1, b"\0"),
        "DATA, empty": lambda n: frame(FrameType.DATA, 0, 1, b""),
        "DATA of another stream": lambda n: frame(FrameType.DATA, 0, 2 * n + 1, b"\0"),
        "PING": lambda n: frame(FrameType.PING, 0, 0, bytes(8)),
        "SETTINGS, empty": lambda n: frame(FrameType.SETTINGS, 0, 0),
        "SETTINGS of windows": lambda n: settings_frame({4: n}),
        "WINDOW_UPDATE": lambda n: frame(FrameType.WINDOW_UPDATE, 0, 1, b"\0\0\0\1"),
        "PRIORITY": lambda n: frame(FrameType.PRIORITY, 0, 1, bytes(5)),
        "RST_STREAM": lambda n: frame(FrameType.RST_STREAM, 0, 2 * (n % 1024) + 1, bytes(4)),
        "an unknown frame": lambda n: frame(0x20, 0, 0),
        "HEADERS, refused": lambda n: frame(FrameType.HEADERS, 0x5, 2 * n + 4001, b"\x83"),
        "HEADERS of a call": lambda n: call(2 * n + 4001, 0x5),
    }
    for name, make in one.items():
        filled = b"".join(map(make, range(TURN // 9)))[:TURN]
        before = opened if "call" not in name and "refused" not in name else b""

        def made(filled: bytes = filled, before: bytes = before) -> Work:
            connection = greeted(before=before)

            def work() -> None:
                for call, _ in connection.receive(filled, 0.0):
                    connection.responses.respond(call, b"y" * 600)
                connection.queue.take()

            return work

        yield name, made


def blocks() -> Iterator[tuple[str, Callable[[], Work]]]:
    """Yield a name and a preparation for header blocks of the greatest size."""
    kinds = {
        "one field": lambda size: b"\x00\x01a\x7f" + _varint(size - 127) + b"v" * size,
        "short literals": lambda size: b"\x00\x01a\x01b" * (size // 5),
        "indexed fields": lambda size: b"\x83" * size,
        "Huffman": lambda size: b"\x00\x01a\xff" + _varint(size - 127) + b"\x1f" * size,
    }
    for limit in (MAX_HEADER_BYTES,):
        limits = ConnectionLimits(trusted=True, header_bytes=limit)
        for name, make in kinds.items():
            block = make(limit - 20)
            cut = [block[at : at + 16_384] for at in range(0, len(block), 16_384)]
            types = [FrameType.HEADERS] + [FrameType.CONTINUATION] * (len(cut) - 1)
            sent = [
                frame(kind, (0x1 if n == 0 else 0) | (0x4 if n == len(cut) - 1 else 0), 1, part)
                for n, (kind, part) in enumerate(zip(types, cut, strict=True))
            ]

            def made(sent: list[bytes] = sent, limits: ConnectionLimits = limits) -> Work:
                connection = greeted(limits, b"".join(sent[:-1]))
                return lambda: connection.receive(sent[-1], 0.0)

            yield f"{name}, {limit // 1024} KiB", made


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def rules(pattern: str, count: int = 999) -> RouteTable:
    """Return a table of rules; `{n}` of the pattern is the number of a rule."""
    made = [
        Rule.parse("routes", pattern.replace("NUMBER", str(n)), "", VERBS[n % 2], Facts(cost=2))
        for n in range(count)
    ]
    return RouteTable(made)


def texts() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a name and a request for each part of a client's text."""
    pieces = (
        "a",
        "ak_live_",
        "%61",
        "%",
        ",",
        "Bearer ",
        "basic YWs=,",
        "a=b&",
        "&api_key=",
        "_method=a&",
        "/",
        "/a",
        "/%C3%A9",
        ":",
        "-",
        KEY,
    )
    for piece in pieces:
        long = piece * (CLIENT // len(piece))
        yield f"path {piece[:9]!r}", {"path": f"/{long}"}
        yield f"path of 8 KiB {piece[:9]!r}", {"path": f"/{long}"[:8192]}
        yield (
            f"segments of 1 KiB {piece[:9]!r}",
            {"path": "/" + "/".join([long[:1000].replace("/", "a")] * 8)},
        )
        yield f"query {piece[:9]!r}", {"path": f"/?{long}"}
        for name in (
            "x-api-key",
            "authorization",
            "x-http-method-override",
            "origin",
            "x-request-id",
            "content-type",
        ):
            yield f"{name} {piece[:9]!r}", {"headers": [(name, long)]}
        yield (
            f"authorization Bearer {piece[:9]!r}",
            {"headers": [("authorization", f"Bearer {long}")]},
        )
        yield (
            f"authorization Basic {piece[:9]!r}",
            {"headers": [("authorization", f"Basic {long}")]},
        )
    many = [(f"x-{n}", "v" * 50) for n in range(1000)]
    methods = ("x-http-method-override", "GET,PUT,POST,PATCH")
    yield "four other methods", {"headers": [methods], "path": "/" + "/".join(["-a" * 500] * 8)}
    yield "1000 headers", {"headers": many}
    yield "1000 raw headers", {"headers": many, "raw_headers": True}


TABLES: Final = {
    "no rules": None,
    "999 prefixes": "/vNUMBER/**",
    "999 of two variables": "/{a}-NUMBER-{b}",
    "190 of two in 8 segments": f"{''.join(f'/{{a{n}}}-{{b{n}}}' for n in range(8))}NUMBER",
    "999 of one variable": "/{a}NUMBER",
    "16 for every path": "/**",
}


def requests() -> Iterator[tuple[str, Callable[[], Work]]]:
    """Yield a name and a preparation for each request, with each table of rules."""
    for label, pattern in TABLES.items():
        table = None if pattern is None else rules(pattern, int(label.split()[0]))
        door = Door(query="api_key", rules=table)
        for name, fields in texts():
            raw = check_request(**fields).SerializeToString()
            yield f"{name}, {label}", lambda door=door, raw=raw: lambda: door.check(raw)


def main() -> None:
    """Print the inputs that hold the loop for longest, and whether one is over the bound."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--top", type=int, default=8, help="how many of each part to show")
    shown = parser.parse_args().top
    for part, inputs in (
        ("frames", frames()),
        ("header blocks", blocks()),
        ("requests", requests()),
    ):
        found = sorted(((least(made), name) for name, made in inputs), reverse=True)
        print(f"{part}: {len(found)} inputs")
        for ms, name in found[:shown]:
            print(f"  {ms:7.2f} ms  {name}{'  OVER' if ms > MOST_MS else ''}")


if __name__ == "__main__":
    main()
