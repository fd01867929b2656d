"""The table of a stream's states."""

import pytest

from authz.rpc.h2.frames import Code, ConnectionFault, Kind, StreamFault
from authz.rpc.h2.head import Head
from authz.rpc.h2.streams import RULES, Call, State, Streams, Verdict

STREAM_FRAMES = {Kind.HEADERS, Kind.DATA, Kind.RST_STREAM, Kind.WINDOW_UPDATE}


def test_every_state_says_what_becomes_of_every_frame():
    """The table has no holes."""
    assert {state: set(rules) for state, rules in RULES.items()} == dict.fromkeys(
        State, STREAM_FRAMES
    )


@pytest.fixture
def streams() -> Streams:
    """Stream 1 has ended, 3 was dropped, 5 is open, 7 is being answered, 9 was passed over."""
    found = Streams(most_dropped=2)
    for stream_id in (1, 3, 5, 7, 11):
        found.pass_by(stream_id)
    found.drop(3)
    for stream_id in (5, 7):
        found.calls[stream_id] = Call(stream_id, Head(None), 0)
    found.calls[7].state = State.ANSWERING
    return found


@pytest.mark.parametrize(
    ("stream_id", "state"),
    [
        (0, State.IDLE),
        (1, State.CLOSED),
        (2, State.IDLE),
        (3, State.DROPPED),
        (5, State.OPEN),
        (7, State.ANSWERING),
        (9, State.CLOSED),
        (13, State.IDLE),
    ],
)
@pytest.mark.parametrize("kind", sorted(STREAM_FRAMES))
def test_a_frame_is_judged_by_the_state_of_its_stream(streams, stream_id, state, kind):
    """What the table says is what happens."""
    assert streams.state(stream_id) is state
    verdict = RULES[state][kind]
    if verdict in (Verdict.TAKE, Verdict.DROP):
        assert streams.admit(kind, stream_id) is (verdict is Verdict.TAKE)
        return
    with pytest.raises((ConnectionFault, StreamFault)) as fault:
        streams.admit(kind, stream_id)
    never_opened = verdict is Verdict.UNEXPECTED or stream_id == 9
    assert isinstance(fault.value, StreamFault) == (verdict is Verdict.RESET)
    assert fault.value.code is (Code.PROTOCOL_ERROR if never_opened else Code.STREAM_CLOSED)


def test_what_the_client_has_ended_need_not_be_remembered(streams):
    """A dropped stream closes when the client ends it."""
    streams.ended_by_client(3)
    assert streams.state(3) is State.CLOSED


def test_few_dropped_streams_are_remembered(streams):
    """The oldest goes first."""
    for stream_id in (13, 15):
        streams.pass_by(stream_id)
        streams.drop(stream_id)
    assert [streams.state(stream_id) for stream_id in (3, 13, 15)] == [
        State.CLOSED,
        State.DROPPED,
        State.DROPPED,
    ]
