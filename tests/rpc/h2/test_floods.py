"""Floods: what asks for nothing and does not end is ended, what a busy proxy sends is not."""

import sys
from collections.abc import Callable

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from authz.core.events import Event
from authz.process.listener import ConnectionLimits
from authz.rpc.h2.flood_budgets import BUDGET_SIZES, MIN_PAUSE, SECONDS_PER_UNIT
from authz.rpc.h2.frames import PREFACE, ErrorCode
from tests.support.h2.client import Client, farewell, framed, grpc_fields

CANCEL = ErrorCode.CANCEL
Parts = list[bytes | Frame]
COMPRESSED = DataFrame(1, framed(b"x", compressed=1))  # refused before it is complete

# What is sent again and again, and the counter that tells of it.
FLOODS: dict[str, tuple[Callable[[Client, int], Parts], Event]] = {
    "rapid reset": (
        lambda client, id_: [client.call(id_), RstStreamFrame(id_, CANCEL)],
        Event.H2_RESET_FLOOD,
    ),
    "rapid reset of requests that are not complete": (
        lambda client, id_: [client.request(id_), RstStreamFrame(id_, CANCEL)],
        Event.H2_RESET_FLOOD,
    ),
    "frames that make us reset": (
        lambda client, id_: [client.request(id_), WindowUpdateFrame(id_, 2**31 - 1)],
        Event.H2_RESET_FLOOD,
    ),
    "malformed requests": (
        lambda client, id_: [client.call(id_, fields=grpc_fields(("te", "gzip")))],
        Event.H2_RESET_FLOOD,
    ),
    "SETTINGS": (lambda _client, _id: [SettingsFrame(0)], Event.H2_CONTROL_FLOOD),
    "SETTINGS with many entries": (
        lambda _client, _id: [SettingsFrame(0, settings={100 + n: n for n in range(100)})],
        Event.H2_CONTROL_FLOOD,
    ),
    "SETTINGS ACK": (
        lambda _client, _id: [SettingsFrame(0, flags=["ACK"])],
        Event.H2_CONTROL_FLOOD,
    ),
    "PING": (lambda _client, _id: [PingFrame(0, b"flooding")], Event.H2_CONTROL_FLOOD),
    "PRIORITY": (lambda _client, id_: [PriorityFrame(id_)], Event.H2_CONTROL_FLOOD),
    "WINDOW_UPDATE": (lambda _client, _id: [WindowUpdateFrame(0, 1)], Event.H2_CONTROL_FLOOD),
    "RST_STREAM of one that has ended": (
        lambda client, id_: [client.call(1) if id_ == 1 else RstStreamFrame(1, CANCEL)],
        Event.H2_CONTROL_FLOOD,
    ),
    "empty DATA": (
        lambda client, id_: [client.request(1) if id_ == 1 else DataFrame(1, b"")],
        Event.H2_EMPTY_FLOOD,
    ),
    "padding alone": (
        lambda client, id_: [
            client.request(1) if id_ == 1 else DataFrame(1, b"", flags=["PADDED"], pad_length=9)
        ],
        Event.H2_EMPTY_FLOOD,
    ),
    "empty DATA of a request that was refused": (
        lambda client, id_: [client.request(1), COMPRESSED] if id_ == 1 else [DataFrame(1, b"")],
        Event.H2_EMPTY_FLOOD,
    ),
    "trailers of a request that was refused": (
        lambda client, id_: [client.request(1), COMPRESSED if id_ == 1 else b""],
        Event.H2_CONTROL_FLOOD,
    ),
    "empty CONTINUATION": (
        lambda _client, id_: [HeadersFrame(1, b"") if id_ == 1 else ContinuationFrame(1, b"")],
        Event.H2_EMPTY_FLOOD,
    ),
    "CONTINUATION": (
        lambda _client, id_: [
            HeadersFrame(1, b"") if id_ == 1 else ContinuationFrame(1, b"\0" * 99)
        ],
        Event.H2_HEADER_FLOOD,
    ),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_ends_its_connection(name):
    """The fault is ENHANCE_YOUR_CALM with its own count, and no memory stays taken."""
    make, event = FLOODS[name]
    client = Client.greeted(echo=False)
    for stream_id in range(1, 10_001, 2):
        code = farewell(client.send(*make(client, stream_id)))
        if code is not None:
            break
    assert code is ErrorCode.ENHANCE_YOUR_CALM
    assert client.probe.events[event] == 1
    assert client.probe.events[Event.H2_CONNECTION_ERROR] == 1


@pytest.mark.parametrize("name", [name for name in FLOODS if name != "CONTINUATION"])
def test_a_flood_slows_a_trusted_client_down(name):
    """A trusted client is paused in proportion to its flood, and stays connected."""
    make, event = FLOODS[name]
    client = Client.greeted(ConnectionLimits(trusted=True), echo=False)
    pauses = []
    for stream_id in range(1, 10_001, 2):
        assert farewell(client.send(*make(client, stream_id))) is None
        if client.connection.budgets.pause >= MIN_PAUSE:
            pauses.append(client.connection.budgets.take_pause())
    assert len(pauses) > 10
    assert max(pauses) < 2 * MIN_PAUSE + 101 * SECONDS_PER_UNIT
    assert client.probe.events[event] > 0
    assert sum(client.probe.events[kind] for kind in BUDGET_SIZES) >= len(pauses)
    assert client.probe.events[Event.H2_CONNECTION_ERROR] == 0
    assert len(client.connection.streams.calls) <= 1


@pytest.mark.parametrize(("table", "most"), [(True, 1000), (False, 16_000)])
def test_a_header_block_without_an_end_is_ended(table, most):
    """A block over the limit is skipped unread, up to a bound."""
    limits = ConnectionLimits(header_bytes=1000)
    client = Client(limits) if table else Client.greeted(limits)
    if table:
        client.send(PREFACE, SettingsFrame(0))
    client.send(client.call(1), HeadersFrame(3, b"\0" * 100))
    part = ContinuationFrame(3, b"\0" * 100)
    assert client.send(*[part] * (most // 100 - 1)) == []
    assert farewell(client.send(part)) is ErrorCode.ENHANCE_YOUR_CALM
    assert client.probe.events[Event.H2_HEADER_FLOOD] == 1


def test_requests_that_come_after_the_goaway_are_bounded():
    """Requests after the GOAWAY are dropped, and paid from a budget."""
    client = Client.greeted(echo=False)
    client.send(client.call(1))
    client.connection.drain(client.now)
    client.wait(2)
    code = None
    for stream_id in range(3, 10_001, 2):
        if code is None:
            code = farewell(client.send(client.call(stream_id)))
    assert code is ErrorCode.ENHANCE_YOUR_CALM
    assert client.probe.events[Event.H2_CONTROL_FLOOD] == 1


def many_waiting(count: int) -> Client:
    """Return a client whose stream windows hold up so many responses."""
    client = Client()
    client.greet(INITIAL_WINDOW_SIZE=1)
    client.send(*(client.call(2 * number + 1) for number in range(count)))
    return client


@pytest.mark.parametrize("frame", [WindowUpdateFrame(1, 1), WindowUpdateFrame(0, 1)])
def test_a_window_update_looks_at_one_response(frame):
    """With a thousand waiting responses, 13 bytes of a client cause the work for one."""

    def work(client: Client) -> int:
        calls = 0

        def count(_frame: object, event: str, _arg: object) -> None:
            nonlocal calls
            calls += event in ("call", "c_call")

        data = frame.serialize()
        sys.setprofile(count)
        client.connection.receive(data, client.now)
        sys.setprofile(None)
        return calls

    assert work(many_waiting(1000)) == work(many_waiting(1))


def test_windows_of_many_streams_are_not_changed_again_and_again():
    """SETTINGS that change the initial window cost more with many calls."""
    client = many_waiting(1000)
    sent, code = 0, None
    while code is None:
        size = 2 + sent % 2
        wanted = SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: size})
        code = farewell(client.send(wanted))
        sent += 1
    assert code is ErrorCode.ENHANCE_YOUR_CALM
    assert 10 < sent < 100


def test_a_busy_proxy_is_no_flood():
    """A client may cancel every second call, with a WINDOW_UPDATE and a PING for each."""
    client = Client.greeted()
    for stream_id in range(1, 8001, 4):
        answer = client.send(
            client.call(stream_id),
            client.request(stream_id + 2),
            DataFrame(stream_id + 2, framed(b"x")[:3]),
            RstStreamFrame(stream_id + 2, CANCEL),
            WindowUpdateFrame(0, 100),
            PingFrame(0, b"bandwith"),
        )
        assert farewell(answer) is None


def test_a_slow_trickle_is_no_flood():
    """A keepalive each second is allowed for hours."""
    client = Client.greeted(ConnectionLimits(idle_seconds=1e6))
    for _ in range(20_000):
        client.now += 1
        (answer,) = client.send(PingFrame(0, b"keepaliv"))
        assert "ACK" in answer.flags
