"""Flow control towards the client: never more bytes than its windows allow."""

import pytest
from hyperframe.frame import (
    DataFrame,
    Frame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from authz.rpc.h2.frames import ErrorCode
from tests.support.h2.client import Client, farewell, framed, grpc_fields, only, resets

WINDOW = SettingsFrame.INITIAL_WINDOW_SIZE


class Windows(RuleBasedStateMachine):
    """A client that changes its windows at random, against a model of them."""

    @initialize(initial=st.integers(0, 50))
    def begin(self, initial: int) -> None:
        """Greet with small windows."""
        self.client = Client()
        self.initial, self.connection = initial, 65_535
        self.credit: dict[int, int] = {}
        self.messages: dict[int, bytes] = {}
        self._account(self.client.greet(INITIAL_WINDOW_SIZE=initial))

    @rule(size=st.integers(0, 40))
    def call(self, size: int) -> None:
        """Call for a response of so many bytes."""
        stream_id = 2 * len(self.messages) + 1
        self.messages[stream_id] = bytes([stream_id % 256]) * size
        self.credit[stream_id] = 0
        self._account(self.client.send(self.client.call(stream_id, self.messages[stream_id])))

    @rule()
    def use_up(self) -> None:
        """Take a response as large as the connection's window, on a stream that allows it."""
        stream_id = 2 * len(self.messages) + 1
        self.messages[stream_id] = b"x" * 70_000
        self.credit[stream_id] = 80_000
        body = framed(self.messages[stream_id])
        frames: list[Frame] = [
            DataFrame(stream_id, body[at : at + 16_000]) for at in range(0, len(body), 16_000)
        ]
        frames[-1].flags.add("END_STREAM")
        widened = WindowUpdateFrame(stream_id, 80_000)
        self._account(self.client.send(self.client.request(stream_id), widened, *frames))

    @rule(increment=st.integers(1, 30), number=st.integers(0, 5))
    def widen_a_stream(self, increment: int, number: int) -> None:
        """Send a WINDOW_UPDATE of a stream, which may have ended."""
        if number < len(self.messages):
            stream_id = list(self.messages)[number]
            self.credit[stream_id] += increment
            self._account(self.client.send(WindowUpdateFrame(stream_id, increment)))

    @rule(increment=st.integers(1, 40_000))
    def widen_the_connection(self, increment: int) -> None:
        """Send a WINDOW_UPDATE of the connection."""
        self.connection += increment
        self._account(self.client.send(WindowUpdateFrame(0, increment)))

    @rule(initial=st.integers(0, 60))
    def change_the_initial_window(self, initial: int) -> None:
        """Send SETTINGS, which may make windows negative."""
        self.initial = initial
        self._account(self.client.send(SettingsFrame(0, settings={WINDOW: initial})))

    def _account(self, frames: list[Frame]) -> None:
        for frame in only(frames, DataFrame):
            self.connection -= len(frame.data)
            self.credit[frame.stream_id] -= len(frame.data)
            if frame.data:
                assert self.connection >= 0
                assert self.initial + self.credit[frame.stream_id] >= 0

    @invariant()
    def all_that_may_be_sent_is_sent(self) -> None:
        """A response waits only for a window, and its sent part is a prefix of the whole."""
        if not hasattr(self, "client"):
            return
        assert self.client.connection.fault is None
        for stream_id, message in self.messages.items():
            body, whole = self.client.bodies.get(stream_id, b""), framed(message)
            assert whole.startswith(body)
            complete = self.client.answered(stream_id) is not None
            assert complete == (body == whole)
            assert complete or min(self.connection, self.initial + self.credit[stream_id]) <= 0


Windows.TestCase.settings = settings(max_examples=60, stateful_step_count=20)
TestWindows = Windows.TestCase


def test_a_large_response_comes_in_several_frames():
    """The frames have the size that the client allows."""
    for most in (16_384, 20_000):
        client = Client()
        client.greet(INITIAL_WINDOW_SIZE=60_000, MAX_FRAME_SIZE=most)
        client.send(client.call(1))  # the first answer is made in another way
        body = framed(b"x" * 50_000)
        parts = [DataFrame(3, body[at : at + 16_000]) for at in range(0, len(body), 16_000)]
        parts[-1].flags.add("END_STREAM")
        sizes = [
            len(frame.data) for frame in only(client.send(client.request(3), *parts), DataFrame)
        ]
        assert client.answered(3) == b"x" * 50_000
        assert sizes == [most] * (len(body) // most) + [len(body) % most]


def test_the_first_header_block_says_that_no_table_is_used():
    """Only the first block begins with a dynamic table size update (RFC 7541, section 6.3)."""
    client = Client.greeted()
    for stream_id, begins in ((1, True), (3, False), (5, False)):
        block = only(client.send(client.call(stream_id)), HeadersFrame)[0].data
        assert block.startswith(b"\x20") is begins


def test_plain_text_waits_for_windows_too():
    """A body without trailers ends the stream with its last byte."""
    client = Client()
    client.greet(INITIAL_WINDOW_SIZE=1)
    client.send(client.call(1, fields=grpc_fields(method="GET")))
    (last,) = only(client.send(WindowUpdateFrame(1, 100)), DataFrame)
    assert "END_STREAM" in last.flags
    assert len(client.bodies[1]) == int(dict(client.headers[1][0])["content-length"])


def test_a_window_that_grows_too_large_is_an_error():
    """SETTINGS cause a connection error, a WINDOW_UPDATE of a stream causes a stream error."""
    client = Client.greeted(echo=False)
    client.send(client.call(1), WindowUpdateFrame(1, 2**31 - 1 - 65_535))
    assert farewell(client.send(SettingsFrame(0, settings={WINDOW: 65_536}))) is (
        ErrorCode.FLOW_CONTROL_ERROR
    )
    client = Client.greeted(echo=False)
    client.send(client.call(1))
    assert resets(client.send(WindowUpdateFrame(1, 2**31 - 65_535))) == [
        (1, ErrorCode.FLOW_CONTROL_ERROR)
    ]


def test_a_response_that_is_not_taken_expires():
    """The deadline of a call applies to its response, too."""
    client = Client()
    client.greet(INITIAL_WINDOW_SIZE=3)
    client.send(client.call(1, fields=grpc_fields(("grpc-timeout", "1S"))))
    assert resets(client.wait(1)) == [(1, ErrorCode.CANCEL)]
    assert client.send(WindowUpdateFrame(1, 100)) == []


@pytest.mark.parametrize("ending", ["the client gives up", "the call expires"])
def test_a_waiting_response_ends_with_its_call(ending):
    """After a reset nothing of it is sent, while other waiting responses are."""
    client = Client()
    client.greet(INITIAL_WINDOW_SIZE=0)
    client.send(client.call(1, fields=grpc_fields(("grpc-timeout", "1S"))), client.call(3))
    if ending == "the client gives up":
        client.send(RstStreamFrame(1, ErrorCode.CANCEL))
    else:
        client.wait(1)
    client.send(SettingsFrame(0, settings={WINDOW: 100}))
    assert 1 not in client.bodies
    assert client.answered(3) == b"hello"
