"""Calls on one connection, from HEADERS to the response."""

from collections.abc import Callable

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.core.events import Event
from authz.process.listener import ConnectionLimits
from authz.rpc.h2.frames import PREFACE, ErrorCode
from authz.rpc.h2.request_bodies import BodyMemory
from authz.rpc.h2.responses import GrpcCode, GrpcStatus, status_response
from authz.rpc.h2.stream_states import StreamState
from tests.support.h2.client import GRPC, START, Client, farewell, framed, grpc_fields, only, resets

RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED, INTERNAL, UNIMPLEMENTED = "8", "4", "13", "12"


def test_the_greeting_says_what_is_offered():
    """Our SETTINGS announce no table, the limits, and a window for whole messages."""
    client = Client(ConnectionLimits(streams=7, header_bytes=9000, message_bytes=200_000))
    (offered,) = only(client.greeting, SettingsFrame)
    assert offered.settings == {
        SettingsFrame.HEADER_TABLE_SIZE: 0,
        SettingsFrame.MAX_CONCURRENT_STREAMS: 7,
        SettingsFrame.INITIAL_WINDOW_SIZE: 200_005,
        SettingsFrame.MAX_HEADER_LIST_SIZE: 9000,
    }
    (widened,) = only(client.greeting, WindowUpdateFrame)
    assert 65_535 + widened.window_increment == 1024 * 1024


def test_a_window_is_never_smaller_than_clients_begin_with():
    """Clients may use the default window before they receive our SETTINGS."""
    (offered,) = only(Client(ConnectionLimits(message_bytes=1024)).greeting, SettingsFrame)
    assert offered.settings[SettingsFrame.INITIAL_WINDOW_SIZE] == 65_535


def test_settings_and_pings_are_acknowledged():
    """Acknowledgements come in the order of the frames."""
    client = Client()
    answer = client.send(PREFACE, SettingsFrame(0), PingFrame(0, b"12345678"), SettingsFrame(0))
    assert [(type(frame), frame.flags) for frame in answer] == [
        (SettingsFrame, {"ACK"}),
        (PingFrame, {"ACK"}),
        (SettingsFrame, {"ACK"}),
    ]
    assert answer[1].opaque_data == b"12345678"


@given(st.binary(max_size=40_000), st.lists(st.integers(1, 20_000), max_size=6), st.booleans())
def test_a_message_arrives_whole_however_it_is_cut(message, cuts, end_apart):
    """DATA frames end anywhere, also in the prefix, and an empty one may carry the end."""
    client, body, frames = Client.greeted(), framed(message), []
    for size in cuts:
        frames += [DataFrame(1, body[:size][:16_384])]
        body = body[len(frames[-1].data) :]
    while len(body) > 16_384:
        frames, body = [*frames, DataFrame(1, body[:16_384])], body[16_384:]
    frames.append(DataFrame(1, body))
    if end_apart:
        frames.append(DataFrame(1, b""))
    frames[-1].flags.add("END_STREAM")
    client.send(WindowUpdateFrame(0, 2**20), SettingsFrame(0, settings={4: 2**20}))
    client.send(client.request(1), *frames)
    assert client.answered(1) == message


@given(st.data())
@settings(max_examples=60)
def test_the_same_bytes_in_other_pieces_are_answered_the_same(data):
    """A read may end anywhere, also in the middle of a frame."""
    script = conversation(data.draw(st.permutations(range(len(ACTS)))))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(script)), max_size=20)))
    whole, cut = Client(), Client()
    whole.send(script)
    for start, end in zip([0, *cuts], [*cuts, len(script)], strict=True):
        cut.send(script[start:end])
    assert (whole.headers, whole.bodies) == (cut.headers, cut.bodies)
    assert whole.probe.events == cut.probe.events
    assert whole.connection.due == cut.connection.due


ACTS: tuple[Callable[[Client, int], list[Frame | bytes]], ...] = (
    lambda client, id_: [client.call(id_)],
    lambda client, id_: [client.call(id_, b"x" * 3000)],
    lambda client, id_: [client.call(id_, fields=grpc_fields(path="/a.B/C"))],
    lambda client, id_: [client.call(id_, fields=grpc_fields(method="GET"))],
    lambda client, id_: [client.request(id_), DataFrame(id_, b"\1"), RstStreamFrame(id_, 8)],
    lambda client, id_: [in_parts(client.request(id_)), DataFrame(id_, framed(b"parts")), end(id_)],
    lambda client, id_: [client.request(id_, grpc_fields(("te", "gzip"))), end(id_)],
    lambda client, id_: [PingFrame(0, b"%08d" % id_), client.call(id_, b"after a ping")],
)


def conversation(order: list[int]) -> bytes:
    """Return the bytes of a client that does these things."""
    client = Client()
    client.encoder.header_table_size = 0
    parts: list[Frame | bytes] = [PREFACE, SettingsFrame(0), SettingsFrame(0, flags=["ACK"])]
    for number, act in enumerate(order):
        parts += ACTS[act](client, 2 * number + 1)
    return b"".join(part if isinstance(part, bytes) else part.serialize() for part in parts)


def in_parts(request: HeadersFrame, size: int = 1) -> bytes:
    """Return HEADERS and CONTINUATION frames of so many bytes each."""
    block, stream_id = request.data, request.stream_id
    rest = range(size, len(block), size)
    frames: list[Frame] = [
        HeadersFrame(stream_id, block[:size], flags=set(request.flags) - {"END_HEADERS"}),
        *(ContinuationFrame(stream_id, block[at : at + size]) for at in rest),
    ]
    frames[-1].flags.add("END_HEADERS")
    return b"".join(frame.serialize() for frame in frames)


def end(stream_id: int) -> DataFrame:
    """Return a frame that ends a stream."""
    return DataFrame(stream_id, b"", flags=["END_STREAM"])


def test_padding_is_taken_off_and_its_window_given_back():
    """A client that pads its frames never runs out of window."""
    client = Client.greeted()
    padded = DataFrame(1, framed(b"hello")[:7], flags=["PADDED"], pad_length=200)
    answer = client.send(client.request(1), padded)
    assert [(frame.stream_id, frame.window_increment) for frame in answer] == [(1, 201)]
    client.send(DataFrame(1, b"llo", flags=["PADDED", "END_STREAM"], pad_length=5))
    assert client.answered(1) == b"hello"


def test_the_connections_window_is_filled_up():
    """The window of all received data is given back, also of refused calls."""
    client, given_back, sent = Client.greeted(), 0, 0
    for stream_id in range(1, 400, 2):
        fields = grpc_fields(method="GET") if stream_id % 4 == 1 else GRPC
        body = DataFrame(stream_id, framed(b"x" * 16_000), flags=["END_STREAM"])
        for frame in only(client.send(client.request(stream_id, fields), body), WindowUpdateFrame):
            given_back += frame.window_increment
        sent += 16_005
        assert sent - given_back < 1024 * 1024
    assert client.connection.fault is None


def test_trailers_of_a_request_end_it():
    """The values of trailers are not used."""
    client = Client.greeted()
    client.send(client.request(1), DataFrame(1, framed(b"hello")))
    client.send(client.request(1, [("x", "y")], "END_HEADERS", "END_STREAM"))
    assert client.answered(1) == b"hello"


@pytest.mark.parametrize("size", [1990, 4000])
def test_trailers_over_the_limit_are_no_more_than_trailers(size):
    """Trailers that are too long, encoded or decoded, are skipped."""
    client = Client.greeted(ConnectionLimits(header_bytes=2000))
    client.send(client.request(1), DataFrame(1, framed(b"hello")))
    client.send(in_parts(client.request(1, [("x", "a" * size)], "END_STREAM"), 500))
    assert client.answered(1) == b"hello"


def test_padding_of_headers_is_taken_off():
    """Padded HEADERS are decoded without their padding."""
    client = Client.greeted()
    padded = client.request(1, GRPC, "END_HEADERS", "PADDED")
    padded.pad_length = 9
    client.send(padded, DataFrame(1, framed(b"hello"), flags=["END_STREAM"]))
    assert client.answered(1) == b"hello"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", UNIMPLEMENTED),
        (framed(b"one") + framed(b"two"), UNIMPLEMENTED),
        (framed(b"x", compressed=1), UNIMPLEMENTED),
        (framed(b"hello")[:-1], INTERNAL),
        (b"\0\0", INTERNAL),
    ],
)
@pytest.mark.parametrize("in_one", [True, False])
def test_what_is_not_one_message_is_refused(body, code, in_one):
    """The call ends with a status in trailers alone, and the connection continues."""
    client = Client.greeted()
    frames = [DataFrame(1, body, flags=["END_STREAM"])]
    if not in_one:
        frames = [DataFrame(1, body[:2]), DataFrame(1, body[2:], flags=["END_STREAM"])]
    client.send(client.request(1), *frames)
    assert client.status(1)[0] == code
    assert 1 not in client.bodies
    client.send(client.call(3))
    assert client.answered(3) == b"hello"


def test_a_request_without_a_body_is_no_message():
    """HEADERS that end the stream are refused with UNIMPLEMENTED."""
    client = Client.greeted()
    client.send(client.request(1, GRPC, "END_HEADERS", "END_STREAM"))
    assert client.status(1)[0] == UNIMPLEMENTED


def test_a_message_over_the_limit_is_refused_at_its_prefix():
    """The client is told to stop at once, and its late frames are ignored."""
    client = Client.greeted(ConnectionLimits(message_bytes=1000))
    prefix = (0).to_bytes(1) + (1001).to_bytes(4)
    answer = client.send(client.request(1), DataFrame(1, prefix))
    assert client.status(1)[0] == RESOURCE_EXHAUSTED
    assert resets(answer) == [(1, ErrorCode.NO_ERROR)]
    assert client.send(DataFrame(1, b"x" * 900), end(1)) == []
    assert client.probe.events[Event.H2_MESSAGE_TOO_LARGE] == 1
    client.send(client.call(3, b"x" * 1000))
    assert client.answered(3) == b"x" * 1000


def test_unfinished_messages_are_held_up_to_a_bound():
    """The message that exceeds the memory is refused, and all memory is given back."""
    memory = BodyMemory(2000)
    client = Client.greeted(memory=memory)
    client.send(client.request(1), DataFrame(1, framed(b"x" * 1200)[:900]))
    client.send(client.request(3), DataFrame(3, framed(b"x" * 1200)[:900]))
    assert client.status(3)[0] == RESOURCE_EXHAUSTED
    client.send(DataFrame(1, framed(b"x" * 1200)[900:], flags=["END_STREAM"]))
    assert client.answered(1) == b"x" * 1200
    client.send(client.request(5), DataFrame(5, framed(b"y" * 900)[:800]))
    client.connection.streams.cancel_all()
    assert memory.take(0, 1000)


def test_a_body_of_something_else_is_not_held():
    """The body of a request that is not gRPC is counted, not kept."""
    client = Client.greeted(ConnectionLimits(message_bytes=20_000), memory=BodyMemory(0))
    fields = grpc_fields(("content-type", "text/plain"))
    client.send(client.request(1, fields[:4] + fields[-1:]), DataFrame(1, b"x" * 15_000))
    assert 1 not in client.headers
    answer = client.send(DataFrame(1, b"x" * 15_000))
    assert dict(client.headers[1][0])[":status"] == "415"
    assert resets(answer) == [(1, ErrorCode.NO_ERROR)]


def test_what_is_not_grpc_gets_a_text():
    """The text is a whole HTTP response, once the request has ended."""
    client = Client.greeted()
    client.send(client.call(1, fields=grpc_fields(method="GET")))
    (fields,) = client.headers[1]
    assert dict(fields)[":status"] == "415"
    assert int(dict(fields)["content-length"]) == len(client.bodies[1])


def test_an_unknown_method_is_unimplemented():
    """The status comes in trailers alone."""
    client = Client.greeted()
    client.send(client.call(1, fields=grpc_fields(path="/a.B/C")))
    assert client.status(1) == (UNIMPLEMENTED, "there is no such method here")


def test_responses_may_come_later_and_in_any_order():
    """Each response belongs to its own call."""
    client = Client.greeted(echo=False)
    client.send(*(client.call(stream_id, b"%d" % stream_id) for stream_id in (1, 3, 5)))
    for call, message in reversed(client.calls):
        client.connection.responses.respond(call, message)
    client.flush()
    assert [client.answered(stream_id) for stream_id in (1, 3, 5)] == [b"1", b"3", b"5"]


def test_a_call_is_answered_once():
    """A second response to a call is dropped."""
    client = Client.greeted(echo=False)
    client.send(client.call(1))
    call = client.calls[0][0]
    client.connection.responses.refuse(call, status_response(GrpcStatus(GrpcCode.NOT_FOUND, "no")))
    client.connection.responses.respond(call, b"late")
    client.flush()
    assert client.status(1) == ("5", "no")
    assert 1 not in client.bodies


def test_a_client_that_gives_up_ends_its_call():
    """The call is reported as cancelled, and its response is dropped."""
    client = Client.greeted(echo=False)
    client.send(client.call(1), client.call(3))
    client.send(RstStreamFrame(1, ErrorCode.CANCEL))
    assert [(call.id, call.state) for call in client.cancelled] == [(1, StreamState.CLOSED)]
    client.connection.responses.respond(client.cancelled[0], b"late")
    assert client.flush() == []


def test_a_call_cancelled_in_the_same_read_is_not_reported():
    """A rapid reset costs no decision."""
    client = Client.greeted(echo=False)
    client.send(client.call(1), RstStreamFrame(1, ErrorCode.CANCEL), client.call(3))
    assert [call.id for call, _ in client.calls] == [3]


def test_a_deadline_ends_a_call():
    """DEADLINE_EXCEEDED comes at the deadline, while calls with more time continue."""
    client = Client.greeted(echo=False)
    client.send(client.call(1, fields=grpc_fields(("grpc-timeout", "200m"))), client.call(3))
    assert client.connection.due == pytest.approx(START + 0.2)
    assert client.wait(0.199) == []
    client.wait(0.002)
    assert client.status(1)[0] == DEADLINE_EXCEEDED
    assert [call.id for call in client.cancelled] == [1]
    assert client.probe.events[Event.H2_CALL_EXPIRED] == 1
    client.wait(29)
    assert client.status(3) is None
    client.wait(1)
    assert client.status(3)[0] == DEADLINE_EXCEEDED


def test_a_request_that_never_ends_is_ended():
    """The deadline of an incomplete request tells the client to stop."""
    client = Client.greeted()
    client.send(client.request(1, grpc_fields(("grpc-timeout", "1S"))), DataFrame(1, b"\0"))
    answer = client.wait(1)
    assert client.status(1)[0] == DEADLINE_EXCEEDED
    assert resets(answer) == [(1, ErrorCode.NO_ERROR)]


def test_calls_over_the_limit_are_refused_so_that_they_can_be_made_again():
    """REFUSED_STREAM says that the call was not processed, so the client may retry it."""
    client = Client.greeted(ConnectionLimits(streams=2), echo=False)
    answer = client.send(client.call(1), client.call(3), client.call(5))
    assert resets(answer) == [(5, ErrorCode.REFUSED_STREAM)]
    assert client.probe.events[Event.H2_STREAM_REFUSED] == 1
    client.connection.responses.respond(client.calls[0][0], b"")
    client.send(client.call(7))
    assert [call.id for call, _ in client.calls] == [1, 3, 7]


def test_headers_over_the_limit_refuse_their_call_alone():
    """A client whose request makes the proxy send large headers harms no other call."""
    client = Client.greeted(ConnectionLimits(header_bytes=2000))
    client.send(client.call(1))
    for stream_id, size in ((3, 1800), (5, 1990), (7, 2100), (9, 9000)):
        client.send(client.call(stream_id, fields=grpc_fields(("x", "~" * size))))
        assert client.status(stream_id)[0] == RESOURCE_EXHAUSTED, size
    parts = in_parts(client.request(11, grpc_fields(("x", "~" * 1500))), 500)
    client.send(parts, DataFrame(11, framed(b"x")), end(11))
    assert client.status(11)[0] == RESOURCE_EXHAUSTED
    assert client.probe.events[Event.H2_HEADERS_TOO_LARGE] == 5
    client.send(client.call(13))
    assert client.answered(13) == b"hello"


def test_with_a_table_headers_over_the_limit_end_the_connection():
    """The skipped rest may have changed the table, so no later block could be decoded."""
    client = Client(ConnectionLimits(header_bytes=2000))
    client.send(PREFACE, SettingsFrame(0))
    answer = client.send(client.call(1, fields=grpc_fields(("x", "~" * 2100))))
    assert farewell(answer) is ErrorCode.ENHANCE_YOUR_CALM
