"""Frames out of order or out of shape get the error that RFC 9113 names."""

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from authz.core.events import Event
from authz.rpc.h2.frames import PREFACE, ErrorCode, FrameType
from tests.support.h2.client import Client, farewell, framed, grpc_fields, resets

ACK, END_STREAM, END_HEADERS, PADDED, PRIORITISED = 0x1, 0x1, 0x4, 0x8, 0x20
WINDOW = SettingsFrame.INITIAL_WINDOW_SIZE


def raw(kind: int, payload: bytes = b"", stream_id: int = 0, flags: int = 0) -> ExtensionFrame:
    """A frame whose contents are not checked."""
    frame = ExtensionFrame(kind, stream_id, flag_byte=flags, body=payload)
    frame.body_len = len(payload)
    return frame


BLOCK = Client().encoder.encode(grpc_fields())  # with a table, as a fresh client may use it

# What is sent after the greeting, and the connection error that it is.
CONNECTION_ERRORS = {
    "DATA on stream 0": (raw(FrameType.DATA), ErrorCode.PROTOCOL_ERROR),
    "DATA on an even stream": (raw(FrameType.DATA, stream_id=2), ErrorCode.PROTOCOL_ERROR),
    "DATA on an idle stream": (DataFrame(1, b"x"), ErrorCode.PROTOCOL_ERROR),
    "HEADERS on stream 0": (
        raw(FrameType.HEADERS, BLOCK, 0, END_HEADERS),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "HEADERS on an even stream": (
        raw(FrameType.HEADERS, BLOCK, 2, END_HEADERS),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "HEADERS with more padding than payload": (
        raw(FrameType.HEADERS, b"\xff" + BLOCK, 1, END_HEADERS | PADDED),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "HEADERS padded and empty": (
        raw(FrameType.HEADERS, b"", 1, END_HEADERS | PADDED),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "HEADERS with half a priority": (
        raw(FrameType.HEADERS, b"\0\0\0", 1, END_HEADERS | PRIORITISED),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "HEADERS that depend on themselves": (
        raw(FrameType.HEADERS, b"\0\0\0\1\0" + BLOCK, 1, END_HEADERS | PRIORITISED),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "a block that is garbled": (HeadersFrame(1, b"\xff" * 20, flags=["END_HEADERS"]), None),
    "a block that ends early": (HeadersFrame(1, BLOCK[:-1], flags=["END_HEADERS"]), None),
    "a reference to nothing": (HeadersFrame(1, b"\xff\x00", flags=["END_HEADERS"]), None),
    "PRIORITY on stream 0": (raw(FrameType.PRIORITY, bytes(5)), ErrorCode.PROTOCOL_ERROR),
    "PRIORITY of an idle stream, of a wrong size": (
        raw(FrameType.PRIORITY, bytes(4), 1),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "PRIORITY on itself": (PriorityFrame(1, depends_on=1), ErrorCode.PROTOCOL_ERROR),
    "RST_STREAM on stream 0": (raw(FrameType.RST_STREAM, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    "RST_STREAM of an idle stream": (RstStreamFrame(1, 8), ErrorCode.PROTOCOL_ERROR),
    "RST_STREAM of a wrong size": (
        raw(FrameType.RST_STREAM, bytes(3), 1),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "SETTINGS on a stream": (raw(FrameType.SETTINGS, b"", 1), ErrorCode.PROTOCOL_ERROR),
    "SETTINGS of a wrong size": (raw(FrameType.SETTINGS, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
    "SETTINGS ACK with contents": (
        raw(FrameType.SETTINGS, bytes(6), 0, ACK),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "ENABLE_PUSH of 2": (
        SettingsFrame(0, settings={SettingsFrame.ENABLE_PUSH: 2}),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "INITIAL_WINDOW_SIZE over the top": (
        SettingsFrame(0, settings={WINDOW: 2**31}),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "MAX_FRAME_SIZE too small": (
        SettingsFrame(0, settings={SettingsFrame.MAX_FRAME_SIZE: 2**14 - 1}),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "MAX_FRAME_SIZE too large": (
        SettingsFrame(0, settings={SettingsFrame.MAX_FRAME_SIZE: 2**24}),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "PUSH_PROMISE": (raw(FrameType.PUSH_PROMISE, bytes(4), 1), ErrorCode.PROTOCOL_ERROR),
    "PING on a stream": (raw(FrameType.PING, bytes(8), 1), ErrorCode.PROTOCOL_ERROR),
    "PING of a wrong size": (raw(FrameType.PING, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    "GOAWAY on a stream": (raw(FrameType.GOAWAY, bytes(8), 1), ErrorCode.PROTOCOL_ERROR),
    "GOAWAY of a wrong size": (raw(FrameType.GOAWAY, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    "WINDOW_UPDATE of a wrong size": (
        raw(FrameType.WINDOW_UPDATE, bytes(3)),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "WINDOW_UPDATE by nothing": (raw(FrameType.WINDOW_UPDATE, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    "WINDOW_UPDATE over the top": (
        raw(FrameType.WINDOW_UPDATE, (2**31 - 1).to_bytes(4)),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "WINDOW_UPDATE of an idle stream": (
        raw(FrameType.WINDOW_UPDATE, b"\0\0\0\1", 1),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "CONTINUATION of nothing": (raw(FrameType.CONTINUATION, BLOCK, 1), ErrorCode.PROTOCOL_ERROR),
    "a frame that is too large": (
        raw(FrameType.DATA, bytes(2**14 + 1), 1),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
}


@pytest.mark.parametrize("name", CONNECTION_ERRORS)
def test_a_connection_error_ends_in_a_goaway(name):
    """The GOAWAY has the code, the error is counted, and no frame follows."""
    frame, code = CONNECTION_ERRORS[name]
    client = Client.greeted()
    answer = client.send(frame)
    assert farewell(answer) == (code or ErrorCode.COMPRESSION_ERROR)
    assert client.connection.ended
    assert client.probe.events[Event.H2_CONNECTION_ERROR] == 1
    assert client.send(PingFrame(0, b"still on")) == []
    assert client.wait(3600) == []


@pytest.mark.parametrize(
    "first", [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", PREFACE[:20] + b"xxxx", b"PRI * HTTP/1.1\r\n"]
)
def test_a_wrong_preface_is_refused_at_its_first_wrong_byte(first):
    """Clients of other protocols get a GOAWAY."""
    assert farewell(Client().send(first)) is ErrorCode.PROTOCOL_ERROR


@pytest.mark.parametrize(
    "frame",
    [
        PingFrame(0, b"too soon"),
        SettingsFrame(0, flags=["ACK"]),
        WindowUpdateFrame(0, 1),
        HeadersFrame(1, BLOCK, flags=["END_HEADERS"]),
        raw(0xBB),
    ],
)
def test_the_first_frame_is_settings(frame):
    """Any other first frame is an error, also one of an unknown type."""
    assert farewell(Client().send(PREFACE, frame)) is ErrorCode.PROTOCOL_ERROR


@pytest.mark.parametrize(
    "frame",
    [
        PingFrame(0, b"between!"),
        DataFrame(1, b"x"),
        HeadersFrame(3, BLOCK, flags=["END_HEADERS"]),
        ContinuationFrame(3, b""),
        SettingsFrame(0),
        raw(0xBB),
    ],
)
def test_nothing_comes_between_the_parts_of_a_header_block(frame):
    """A frame of another stream or of an unknown type is an error there, too."""
    begun = HeadersFrame(1, BLOCK[:4])
    assert farewell(Client.greeted().send(begun, frame)) is ErrorCode.PROTOCOL_ERROR


# What a call's stream gets after its HEADERS, and the stream error that it is.
STREAM_ERRORS = {
    "a second HEADERS that ends nothing": (
        lambda client: client.request(1, [("x", "y")]),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "trailers with a pseudo field": (
        lambda client: client.request(1, [(":path", "/")], "END_HEADERS", "END_STREAM"),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "trailers in capitals": (
        lambda client: client.request(1, [("X", "y")], "END_HEADERS", "END_STREAM"),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "WINDOW_UPDATE by nothing": (
        lambda _client: raw(FrameType.WINDOW_UPDATE, bytes(4), 1),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "WINDOW_UPDATE over the top": (
        lambda _client: WindowUpdateFrame(1, 2**31 - 1),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "PRIORITY of a wrong size": (
        lambda _client: raw(FrameType.PRIORITY, bytes(4), 1),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
}


@pytest.mark.parametrize("name", STREAM_ERRORS)
def test_a_stream_error_ends_that_stream_alone(name):
    """RST_STREAM has the code, late frames are ignored, and other calls continue."""
    make, code = STREAM_ERRORS[name]
    client = Client.greeted()
    client.send(client.request(1))
    assert resets(client.send(make(client))) == [(1, code)]
    assert client.probe.events[Event.H2_STREAM_ERROR] == 1
    late = DataFrame(1, framed(b"late"), flags=["END_STREAM"])
    assert client.send(late) == []
    client.send(client.call(3))
    assert client.answered(3) == b"hello"


@pytest.mark.parametrize("frame", [DataFrame(1, b"x"), raw(FrameType.DATA, b"", 1, END_STREAM)])
def test_data_after_the_end_of_a_request_is_an_error(frame):
    """Before the response this is a stream error, afterwards a connection error."""
    client = Client.greeted(echo=False)
    client.send(client.call(1))
    assert resets(client.send(frame)) == [(1, ErrorCode.STREAM_CLOSED)]
    assert [call.id for call in client.cancelled] == [1]
    client = Client.greeted()
    client.send(client.call(1))
    assert farewell(client.send(frame)) is ErrorCode.STREAM_CLOSED


def test_headers_after_the_end_of_a_request_are_an_error():
    """Before the response this is a stream error, afterwards a connection error."""
    client = Client.greeted(echo=False)
    client.send(client.call(1))
    assert resets(client.send(client.request(1))) == [(1, ErrorCode.STREAM_CLOSED)]
    client = Client.greeted()
    client.send(client.call(1))
    assert farewell(client.send(client.request(1))) is ErrorCode.STREAM_CLOSED


def test_ids_only_grow():
    """A stream id that was passed over can never be used."""
    client = Client.greeted()
    client.send(client.call(7))
    assert farewell(client.send(client.call(5))) is ErrorCode.PROTOCOL_ERROR


@pytest.mark.parametrize("length", ["4", "6", "0"])
def test_a_content_length_has_to_be_true(length):
    """The body of the message `hello` has ten bytes."""
    client = Client.greeted()
    answer = client.send(client.call(1, fields=grpc_fields(("content-length", length))))
    assert resets(answer) == [(1, ErrorCode.PROTOCOL_ERROR)]
    client.send(client.call(3, fields=grpc_fields(("content-length", "10"))))
    assert client.answered(3) == b"hello"


def test_malformed_headers_end_their_stream_alone():
    """Late frames of its body are ignored."""
    client = Client.greeted()
    answer = client.send(client.call(1, fields=grpc_fields(("connection", "close"))))
    assert resets(answer) == [(1, ErrorCode.PROTOCOL_ERROR)]
    client.send(client.call(3))
    assert client.answered(3) == b"hello"


def test_what_is_unknown_is_ignored():
    """Unknown frames, flags and settings, and the reserved bit, are ignored."""
    client = Client.greeted()
    assert client.send(raw(0xBB, b"grease", 5, 0xFF), raw(0x0C)) == []
    settings = SettingsFrame(0, settings={0xABCD: 7, SettingsFrame.MAX_HEADER_LIST_SIZE: 1})
    (ack,) = client.send(settings)
    assert ack.flags == {"ACK"}
    request = bytearray(client.call(1))
    request[4] |= 0xD2  # flags of HEADERS that mean nothing
    request[5] |= 0x80  # the reserved bit of its stream id
    client.send(bytes(request))
    assert client.answered(1) == b"hello"


def test_priorities_are_read_and_ignored():
    """PRIORITY is allowed for open streams and for streams that never open."""
    client = Client.greeted()
    dependent = client.request(1, grpc_fields(), "END_HEADERS", "PRIORITY")
    dependent.depends_on, dependent.stream_weight, dependent.exclusive = 9, 7, True
    body = DataFrame(1, framed(b"hello"), flags=["END_STREAM"])
    client.send(PriorityFrame(99, depends_on=1), dependent, PriorityFrame(1, depends_on=3), body)
    assert client.answered(1) == b"hello"


def test_goaway_of_a_client_changes_nothing():
    """A client's GOAWAY refuses our streams, and we open none."""
    client = Client.greeted()
    client.send(GoAwayFrame(0, 0, 0), client.call(1))
    assert client.answered(1) == b"hello"
