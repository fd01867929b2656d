"""The end of a connection: drained, idle, or without a greeting."""

import pytest
from hyperframe.frame import DataFrame, GoAwayFrame, PingFrame, SettingsFrame

from authz.core.events import Event
from authz.process.listener import ConnectionLimits
from authz.rpc.h2.frames import MAX_STREAM_ID, PREFACE, ErrorCode
from tests.support.h2.client import Client, farewell, framed, only

ANSWERED = {"flags": ["ACK"]}


def last_ids(frames) -> list[int]:
    """Return the last stream ids that GOAWAY frames name."""
    return [frame.last_stream_id for frame in only(frames, GoAwayFrame)]


def test_a_drain_waits_for_the_client_and_its_responses():
    """The first GOAWAY names no stream, the second the last one; then the connection ends."""
    client = Client.greeted(echo=False)
    client.send(client.call(1))
    client.connection.drain(client.now)
    first = client.flush()
    (ping,) = only(first, PingFrame)
    assert (last_ids(first), farewell(first)) == ([MAX_STREAM_ID], ErrorCode.NO_ERROR)

    assert client.send(client.call(3)) == []  # it had not heard yet
    second = client.send(PingFrame(0, ping.opaque_data, **ANSWERED))
    assert last_ids(second) == [3]
    assert client.send(client.call(5)) == []  # the GOAWAY says that this one is lost

    assert [call.id for call, _ in client.calls] == [1, 3]
    for call, message in client.calls:
        assert not client.connection.ended
        client.connection.responses.respond(call, message)
    client.flush()
    assert client.connection.ended
    assert (client.answered(1), client.answered(3)) == (b"hello", b"hello")


def test_a_drain_does_not_wait_for_a_client_that_does_not_answer():
    """The PING of a drain has one second."""
    client = Client.greeted()
    client.connection.drain(client.now)
    client.flush()
    assert client.connection.due == client.now + 1
    assert last_ids(client.wait(0.9)) == []
    assert last_ids(client.wait(0.2)) == [0]
    assert client.connection.ended


def test_another_ping_is_not_the_answer():
    """A client's own keepalive does not hasten the end."""
    client = Client.greeted()
    client.connection.drain(client.now)
    client.flush()
    assert only(client.send(PingFrame(0, b"whatever", **ANSWERED)), GoAwayFrame) == []


def test_draining_twice_is_draining_once():
    """An idle connection may be draining when the process stops."""
    client = Client.greeted()
    client.connection.drain(client.now)
    client.flush()
    client.connection.drain(client.now)
    assert client.flush() == []


def test_a_late_body_of_a_call_that_came_too_late_is_dropped():
    """The connection ends after its responses, without an error."""
    client = Client.greeted(echo=False)
    client.send(client.call(1))
    client.connection.drain(client.now)
    client.wait(1)
    client.send(client.request(3), DataFrame(3, framed(b"x")))
    assert client.send(DataFrame(3, b"", flags=["END_STREAM"])) == []
    assert client.connection.fault is None


def test_an_error_while_draining_names_the_same_last_stream():
    """The last stream id of a GOAWAY must not grow."""
    client = Client.greeted(echo=False)
    client.send(client.call(1))
    client.connection.drain(client.now)
    client.wait(1)
    assert last_ids(client.send(client.call(3), DataFrame(0xFF, b"x"))) == [1]


def test_a_client_that_sends_no_settings_is_disconnected():
    """A client has ten seconds for its preface and SETTINGS."""
    for begun in (b"", PREFACE, PREFACE[:5]):
        client = Client()
        client.send(begun)
        assert client.wait(9.9) == []
        assert farewell(client.wait(0.2)) is ErrorCode.SETTINGS_TIMEOUT
        assert client.probe.events[Event.H2_HANDSHAKE_FAILED] == 1


@pytest.mark.parametrize("calls", [0, 2])
def test_an_idle_connection_is_drained(calls):
    """Idle time counts from the last call, and PINGs do not extend it."""
    client = Client.greeted(ConnectionLimits(idle_seconds=100))
    for number in range(calls):
        client.wait(50)
        client.send(client.call(2 * number + 1))
    for _ in range(9):
        client.send(PingFrame(0, b"keepaliv"))
        assert client.wait(11) == []
    assert last_ids(client.wait(11)) == [MAX_STREAM_ID]
    assert client.probe.events[Event.H2_IDLE_CLOSED] == 1
    client.send(PingFrame(0, b"draining", **ANSWERED))
    assert client.connection.ended


def test_a_connection_that_works_is_not_idle():
    """An open call keeps its connection."""
    client = Client.greeted(ConnectionLimits(idle_seconds=10), echo=False)
    client.send(client.call(1))
    client.wait(25)
    assert client.connection.due == client.now + 5  # the deadline of the call
    assert only(client.wait(2), GoAwayFrame) == []


def test_a_client_that_is_gone_leaves_nothing():
    """The calls of a lost connection end."""
    client = Client.greeted(echo=False)
    client.send(client.call(1), client.request(3), DataFrame(3, b"\0"))
    client.connection.streams.cancel_all()
    client.connection.responses.respond(client.calls[0][0], b"late")
    assert client.flush() == []


def test_settings_may_come_late_and_slowly():
    """The timeout is for the first SETTINGS alone."""
    client = Client()
    for byte in PREFACE + SettingsFrame(0).serialize():
        client.now += 0.2
        client.send(bytes([byte]))
    assert client.wait(20) == []
