"""The protocol and the server: sockets, tasks and timers around the connection."""

import asyncio
import gc
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import pairwise
from typing import Any

import pytest
from hyperframe.frame import (
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
)

from authz.core.events import Event
from authz.core.listen_address import Address
from authz.process.listener import ConnectionLimits, TlsFiles
from authz.rpc.h2 import frame_reader, protocol, server
from authz.rpc.h2.connection import Connection
from authz.rpc.h2.frames import PREFACE, ErrorCode
from authz.rpc.h2.protocol import H2Protocol
from authz.rpc.h2.request_bodies import BodyMemory
from authz.rpc.h2.request_headers import MethodHandler
from authz.rpc.h2.request_streams import RequestStreams
from authz.rpc.h2.send_queue import SendQueue
from authz.rpc.h2.server import FastServer
from authz.rpc.h2.server_state import ServerState
from authz.rpc.h2.stream_states import Call
from tests.support.fakes import RecordingProbe
from tests.support.h2.client import PATH, Client, framed, frames_of, grpc_fields, only
from tests.support.h2.wire import wired
from tests.support.real import eventually

LOOPBACK = Address("127.0.0.1", 0)
LARGE = 3000
DEFAULT_LIMITS = ConnectionLimits()
INTERNAL = b"grpc-status\x0213"


class EchoHandler:
    """A handler that answers at once, later, never, wrongly, or with a large message."""

    def __init__(self) -> None:
        self.waiting, self.released = 0, asyncio.Event()

    def check(self, message: bytes, _traceparent: bytes | None = None) -> Any:
        """Implement CheckHandler.check."""
        if message == b"wait":
            return self._later(message)
        if message == b"fail later":
            return self._fail()
        if message == b"fail":
            raise ValueError("the key was ak_live_secret")
        return message * LARGE if message == b"x" else message

    async def _later(self, message: bytes) -> bytes:
        self.waiting += 1
        try:
            await self.released.wait()
        finally:
            self.waiting -= 1
        return message

    async def _fail(self) -> bytes:
        await asyncio.sleep(0)
        raise ValueError("the key was ak_live_secret")


@asynccontextmanager
async def serving(address: Address = LOOPBACK, **settings):
    """Run a server with its handler."""
    handler, probe = EchoHandler(), RecordingProbe()
    server = FastServer(handler, address, probe=probe, **settings)
    await server.start()
    server.handler, server.probe = handler, probe
    try:
        yield server
    finally:
        await server.stop(0)


async def answer_to(wire, stream_id: int, message: bytes = b"hello") -> bytes:
    """Return the body of the response to one call."""
    wire.send(wire.call(stream_id, message))
    return (await wire.until(DataFrame, stream_id)).data


async def status_of(wire, stream_id: int, message: bytes) -> bytes:
    """Return the header block of a response without a body."""
    wire.send(wire.call(stream_id, message))
    return (await wire.until(HeadersFrame, stream_id)).data


async def test_a_fault_of_ours_is_an_internal_error():
    """The client learns nothing of an exception, it is counted, and the connection continues."""
    async with serving() as server, wired(server.address) as wire:
        wire.greet()
        for stream_id, message in ((1, b"fail"), (3, b"fail later")):
            block = await status_of(wire, stream_id, message)
            assert INTERNAL in block
            assert b"ak_live" not in block
        assert server.probe.events == {Event.DECISION_FAULT: 2}
        assert await answer_to(wire, 5) == framed(b"hello")


async def test_a_garbled_health_request_is_an_error():
    """grpcio refuses it, too."""
    async with serving() as server, wired(server.address) as wire:
        wire.greet()
        wire.send(wire.call(1, b"\xff", grpc_fields(path="/grpc.health.v1.Health/Check")))
        assert INTERNAL in (await wire.until(HeadersFrame, 1)).data


async def test_a_waiting_call_delays_no_other():
    """A hit behind a miss is answered first."""
    async with serving() as server, wired(server.address) as wire:
        wire.greet()
        wire.send(wire.call(1, b"wait"), wire.call(3, b"hit"))
        assert (await wire.until(DataFrame, 3)).data == framed(b"hit")
        server.handler.released.set()
        assert (await wire.until(DataFrame, 1)).data == framed(b"wait")


@pytest.mark.parametrize("ending", ["reset", "deadline", "cut", "goaway", "eof"])
async def test_the_task_of_a_call_that_ended_is_cancelled(ending):
    """No end of a call leaves a task running."""
    async with serving() as server, wired(server.address) as wire:
        wire.greet()
        timeout = "30m" if ending == "deadline" else "10S"
        wire.send(wire.call(1, b"wait", grpc_fields(("grpc-timeout", timeout))))
        await eventually(lambda: server.handler.waiting == 1)
        if ending == "reset":
            wire.send(RstStreamFrame(1, ErrorCode.CANCEL))
        if ending == "cut":
            wire.cut()
        if ending == "goaway":
            wire.send(DataFrame(99, b"an error"))
        if ending == "eof":
            wire.half_close()
        await eventually(lambda: server.handler.waiting == 0)


async def test_a_client_can_read_the_goaway():
    """The GOAWAY arrives and then the end, not a reset, also while the client still sends."""
    async with (
        serving(limits=ConnectionLimits(linger_seconds=60.0)) as server,
        wired(server.address) as wire,
    ):
        wire.greet()
        wire.send(DataFrame(99, b"an error"), PingFrame(0, b"unheard!").serialize() * 200_000)
        frames = await wire.rest()
        assert isinstance(frames[-1], GoAwayFrame)
        assert frames[-1].error_code == ErrorCode.PROTOCOL_ERROR
        assert frames[-1].additional_data == b"DATA on a stream never opened"


async def test_one_client_harms_no_other(caplog):
    """A connection error ends one connection, and the log quotes no input."""
    async with serving() as server, wired(server.address) as good, wired(server.address) as bad:
        for wire in (good, bad):
            wire.greet()
        good.send(good.call(1, b"wait"))
        bad.send(HeadersFrame(1, b"\x40\x09x-api-key\x0eak_live_secret\xff", flags=["END_HEADERS"]))
        assert isinstance((await bad.rest())[-1], GoAwayFrame)
        server.handler.released.set()
        assert (await good.until(DataFrame, 1)).data == framed(b"wait")
        assert await answer_to(good, 3) == framed(b"hello")
    (line,) = caplog.messages
    assert line.startswith("closed the connection of ('127.0.0.1', ")
    assert line.endswith("): COMPRESSION_ERROR: a header block is garbled")


async def test_a_client_that_does_not_read_is_disconnected():
    """Its buffered responses are bounded, and others are served meanwhile."""
    many = ConnectionLimits(streams=10_000, stall_seconds=0.2)
    async with (
        serving(limits=many) as server,
        wired(server.address) as slow,
        wired(server.address) as other,
    ):
        for wire in (slow, other):
            wire.greet()
        widen = b"\0\0\4\x08\0\0\0\0\0\x7f\0\0\0"
        calls = 8000
        slow.send(widen, *(slow.call(2 * number + 1, b"x") for number in range(calls)))
        stream_id = 1
        while not server.probe.events[Event.H2_SLOW_READER]:
            assert await answer_to(other, stream_id) == framed(b"hello")
            stream_id += 2
            kept = (each.transport.get_write_buffer_size() for each in server._state.open)
            assert max(kept) < calls * LARGE / 2  # of what it asked for in one read
        await eventually(lambda: len(server._state.open) == 1)


async def test_a_client_that_reads_late_gets_everything():
    """Reading resumes where it stopped."""
    many = ConnectionLimits(streams=10_000)
    async with serving(limits=many) as server, wired(server.address) as wire:
        wire.greet()
        calls = 8000
        wire.send(b"\0\0\4\x08\0\0\0\0\0\x7f\0\0\0")
        for number in range(calls):
            wire.send(wire.call(2 * number + 1, b"x"))
        (paused,) = await eventually(lambda: server._state.open)
        await eventually(lambda: paused.stall is not None)
        ends = 0
        while ends < calls:
            frame = await wire.frame()
            ends += "END_STREAM" in frame.flags
        assert server.probe.events == {}


async def test_an_idle_connection_is_closed():
    """An idle connection ends with a GOAWAY in two steps."""
    async with (
        serving(limits=ConnectionLimits(idle_seconds=0.05)) as server,
        wired(server.address) as wire,
    ):
        wire.greet()
        ping = await wire.until(PingFrame)
        wire.send(PingFrame(0, ping.opaque_data, flags=["ACK"]))
        (goodbye,) = await wire.rest()
        assert (goodbye.error_code, goodbye.last_stream_id) == (ErrorCode.NO_ERROR, 0)
        assert server.probe.events == {Event.H2_IDLE_CLOSED: 1}


async def test_a_client_without_a_greeting_is_disconnected():
    """The GOAWAY has SETTINGS_TIMEOUT."""
    async with (
        serving(limits=ConnectionLimits(handshake_seconds=0.05)) as server,
        wired(server.address) as wire,
    ):
        goodbye = await wire.until(GoAwayFrame)
        assert goodbye.error_code == ErrorCode.SETTINGS_TIMEOUT
        assert server.probe.events[Event.H2_HANDSHAKE_FAILED] == 1


async def test_connections_over_the_bound_are_closed():
    """Connections over the bound are counted and closed; open connections continue."""
    async with serving() as server, wired(server.address) as first:
        server._state.max_connections = 1
        first.greet()
        assert await answer_to(first, 1) == framed(b"hello")
        async with wired(server.address) as second:
            with pytest.raises((EOFError, ConnectionError)):
                await second.frame()
        assert server.probe.events == {Event.H2_CONNECTION_REFUSED: 1}
        assert await answer_to(first, 3) == framed(b"hello")


async def test_a_stop_waits_for_running_calls():
    """Two GOAWAYs, the response to the running call, and the end."""
    async with (
        serving(limits=ConnectionLimits(goaway_seconds=60.0)) as server,
        wired(server.address) as wire,
    ):
        wire.greet()
        wire.send(wire.call(1, b"wait"))
        await eventually(lambda: server.handler.waiting == 1)
        stopping = asyncio.create_task(server.stop(60))
        assert (await wire.until(GoAwayFrame)).last_stream_id == 2**31 - 1
        ping = await wire.until(PingFrame)
        wire.send(wire.call(3, b"just in time"), PingFrame(0, ping.opaque_data, flags=["ACK"]))
        assert (await wire.until(GoAwayFrame)).last_stream_id == 3
        assert (await wire.until(DataFrame, 3)).data == framed(b"just in time")
        server.handler.released.set()
        assert (await wire.until(DataFrame, 1)).data == framed(b"wait")
        await wire.rest()
        wire.cut()
        await stopping


async def test_a_stop_does_not_wait_for_idle_connections():
    """An idle connection closes once the client knows of the end."""
    async with serving() as server, wired(server.address) as wire:
        wire.greet()
        stopping = asyncio.create_task(server.stop(60))
        ping = await wire.until(PingFrame)
        wire.send(PingFrame(0, ping.opaque_data, flags=["ACK"]))
        await wire.rest()
        wire.cut()
        async with asyncio.timeout(10):
            await stopping


class Transport(asyncio.Transport):
    """A transport that records what is written, and whether reading is paused."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.reading = True

    @property
    def answers(self) -> int:
        """The number of responses written so far."""
        return len(only(frames_of(b"".join(self.written)), DataFrame))

    def write(self, data: bytes) -> None:
        """Implement asyncio.Transport.write."""
        self.written.append(data)

    def pause_reading(self) -> None:
        """Implement asyncio.Transport.pause_reading."""
        self.reading = False

    def resume_reading(self) -> None:
        """Implement asyncio.Transport.resume_reading."""
        self.reading = True

    def can_write_eof(self) -> bool:
        """Implement asyncio.Transport.can_write_eof."""
        return True

    def write_eof(self) -> None:
        """Implement asyncio.Transport.write_eof."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Implement asyncio.Transport.set_write_buffer_limits."""


def state_with(handler: MethodHandler, limits: ConnectionLimits = DEFAULT_LIMITS) -> ServerState:
    """Return the state of a server whose only method has this handler."""
    return ServerState({PATH.encode(): handler}, limits, BodyMemory(0), RecordingProbe(), 10)


@contextmanager
def greeted_protocol(
    limits: ConnectionLimits = DEFAULT_LIMITS,
) -> Iterator[tuple[H2Protocol, Transport, Client]]:
    """Return a protocol without a socket that echoes messages, and a client that writes to it."""
    service = state_with(lambda message: message, limits)
    shell, transport, script = H2Protocol(service), Transport(), Client()
    shell.connection_made(transport)
    script.encoder.header_table_size = 0
    shell.data_received(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
    transport.written.clear()
    yield shell, transport, script
    shell.connection_lost(None)


async def test_hits_are_answered_in_the_read_that_brought_them():
    """All responses go out in one write, and no task is created."""
    with greeted_protocol() as (shell, transport, script):
        tasks = asyncio.all_tasks()
        shell.data_received(b"".join(script.call(2 * number + 1) for number in range(50)))
        assert len(transport.written) == 1
        assert transport.answers == 50
        assert asyncio.all_tasks() == tasks


LARGE_READ = 900  # calls, so many that they are taken in turns, on streams from 1 on


def large_read(script: Client) -> bytes:
    """Return the bytes that a busy client sends while the loop is elsewhere."""
    made = b"".join(script.call(2 * number + 1, b"m" * 50) for number in range(LARGE_READ))
    assert len(made) > 2 * protocol.TURN
    return made


async def test_a_large_read_is_taken_in_turns():
    """Between two turns the loop serves others, and reading is paused."""
    with greeted_protocol() as (shell, transport, script):
        read = large_read(script)
        shell.data_received(read)
        answered = [transport.answers]
        while not transport.reading:
            await asyncio.sleep(0)
            answered.append(transport.answers)
        gained = [after - before for before, after in pairwise([0, *answered])]
        most = LARGE_READ * protocol.TURN // len(read) + 1
        assert all(0 < gain <= most for gain in gained[:-1])
        assert answered[-1] == LARGE_READ


SMALL = {
    "ping": PingFrame(0, b"12345678").serialize(),
    "data": DataFrame(1, b"x").serialize(),
    "settings": SettingsFrame(0, settings={4: 99}).serialize(),
    "unknown": b"\0\0\0\x20\0\0\0\0\0",
}


@pytest.mark.parametrize("frame", SMALL.values(), ids=SMALL)
async def test_small_frames_are_taken_in_turns(frame):
    """A turn ends after TURN_FRAMES, or TURN_UNITS of the budgets, however many frames are left."""
    limits = ConnectionLimits(flood_tolerance=100, trusted=True)
    with greeted_protocol(limits) as (shell, transport, script):
        shell.data_received(script.request(1).serialize())
        reader = shell._connection._reader
        number = protocol.TURN // len(frame)

        def taken() -> int:
            return number - len(reader._rest) // len(frame)

        shell.data_received(frame * number)
        turns = [taken()]
        while not transport.reading:
            await asyncio.sleep(0)
            turns.append(taken())
        assert turns[-1] == number
        gained = [after - before for before, after in pairwise([0, *turns])]
        assert 0 < max(gained) <= frame_reader.TURN_FRAMES
        assert len(turns) > number // frame_reader.TURN_FRAMES


async def test_a_client_that_does_not_read_has_no_turn():
    """Its unprocessed bytes wait until it has read its responses."""
    with greeted_protocol() as (shell, transport, script):
        shell.data_received(large_read(script))
        shell.pause_writing()
        before = transport.answers
        for _ in range(10):
            await asyncio.sleep(0)
        assert transport.answers == before
        shell.resume_writing()
        while not transport.reading:
            await asyncio.sleep(0)
        assert transport.answers == LARGE_READ


async def test_a_flooding_trusted_client_is_paused():
    """Reading stops for the pause, also between two turns, and every call is answered."""
    limits = ConnectionLimits(flood_tolerance=0.1, trusted=True)
    with greeted_protocol(limits) as (shell, transport, script):
        shell.data_received(PingFrame(0, b"flooding").serialize() * 3000 + large_read(script))
        pauses = 0
        while not transport.reading:
            assert shell.slowed is None or transport.answers < LARGE_READ
            pauses += shell.slowed is not None
            await asyncio.sleep(0)
        assert pauses > 0
        assert transport.answers == LARGE_READ


async def test_a_client_lost_in_its_pause_leaves_no_timer():
    """A timer that fired later would read from a closed transport."""
    limits = ConnectionLimits(flood_tolerance=0.1, trusted=True)
    with greeted_protocol(limits) as (shell, _transport, _script):
        shell.data_received(PingFrame(0, b"flooding").serialize() * 300)
        while shell.slowed is None:
            await asyncio.sleep(0)
    assert shell.slowed.cancelled()


@pytest.mark.parametrize(
    ("listen", "client_ca", "trusted"),
    [
        ("127.0.0.1:0", False, True),
        ("unix:", False, True),
        ("0.0.0.0:0", False, False),
        ("0.0.0.0:0", True, True),
    ],
)
async def test_clients_are_trusted_where_only_proxies_connect(
    listen, client_ca, trusted, tmp_path, monkeypatch
):
    """Loopback, a Unix socket or a client certificate; a mesh that encrypts is not enough."""
    monkeypatch.setattr(server, "server_tls", lambda _files: None)
    files = TlsFiles(tmp_path, tmp_path, tmp_path) if client_ca else None
    where = f"unix:{tmp_path}/check.sock" if listen == "unix:" else listen
    address = Address.parse("check.listen", where)
    made = FastServer(
        EchoHandler(), address, probe=RecordingProbe(), tls=files, allow_plaintext=True
    )
    assert made._state.limits.trusted is trusted
    await made.stop(0)


async def test_an_error_in_a_large_read_is_the_end_of_it():
    """The rest of the read and all later input are discarded."""
    with greeted_protocol() as (shell, transport, script):
        shell.data_received(DataFrame(99, b"an error").serialize() + large_read(script))
        assert transport.reading
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert transport.answers == 0


@pytest.mark.parametrize("cause", [None, OSError(), asyncio.CancelledError()], ids=repr)
async def test_whatever_ends_a_connection_its_calls_are_cancelled(cause):
    """An event loop may also pass a cause that is no Exception, and the state is the same then."""
    forever = asyncio.get_running_loop().create_future()
    state = state_with(lambda _message: forever)
    shell, script = H2Protocol(state), Client()
    shell.connection_made(Transport())
    script.encoder.header_table_size = 0
    shell.data_received(PREFACE + SettingsFrame(0).serialize() + script.call(1))
    assert not forever.done()
    shell.connection_lost(cause)
    assert forever.cancelled()
    assert not state.open


async def test_nothing_of_a_connection_that_has_ended_is_kept():
    """The objects of a connection refer to each other; the garbage collector finds them all."""
    kinds = (H2Protocol, Connection, RequestStreams, SendQueue, Call)
    for ending in (b"", DataFrame(99, b"an error").serialize()):
        with greeted_protocol() as (shell, transport, script):
            shell.data_received(script.call(1) + script.request(3).serialize())
            shell.data_received(ending)
            assert transport.answers == 1
    del shell, transport, script
    gc.collect()
    assert [each for each in gc.get_objects() if isinstance(each, kinds)] == []
