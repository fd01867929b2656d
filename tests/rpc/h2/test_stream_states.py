"""The table of stream states."""

import pytest

from authz.rpc.h2.frames import ConnectionFault, ErrorCode, FrameType, StreamFault
from authz.rpc.h2.request_headers import RequestHeaders
from authz.rpc.h2.stream_states import RULES, Call, FrameVerdict, StreamState, StreamStates

STREAM_FRAMES = {FrameType.HEADERS, FrameType.DATA, FrameType.RST_STREAM, FrameType.WINDOW_UPDATE}


def test_the_table_is_complete():
    """Each state has a verdict for each frame type."""
    assert {state: set(rules) for state, rules in RULES.items()} == dict.fromkeys(
        StreamState, STREAM_FRAMES
    )


@pytest.fixture
def streams() -> StreamStates:
    """Stream 1 has ended, 3 was dropped, 5 is open, 7 is being answered, 9 was passed over."""
    found = StreamStates(max_dropped=2)
    for stream_id in (1, 3, 5, 7, 11):
        found.open(stream_id)
    found.drop(3)
    for stream_id in (5, 7):
        found.calls[stream_id] = Call(stream_id, RequestHeaders(None), 0)
    found.calls[7].state = StreamState.ANSWERING
    return found


@pytest.mark.parametrize(
    ("stream_id", "state"),
    [
        (0, StreamState.IDLE),
        (1, StreamState.CLOSED),
        (2, StreamState.IDLE),
        (3, StreamState.DROPPED),
        (5, StreamState.OPEN),
        (7, StreamState.ANSWERING),
        (9, StreamState.CLOSED),
        (13, StreamState.IDLE),
    ],
)
@pytest.mark.parametrize("kind", sorted(STREAM_FRAMES))
def test_a_frame_is_judged_by_the_state_of_its_stream(streams, stream_id, state, kind):
    """The verdict of the table is applied."""
    assert streams.state(stream_id) is state
    verdict = RULES[state][kind]
    if verdict in (FrameVerdict.ACCEPT, FrameVerdict.IGNORE):
        assert streams.accepts(kind, stream_id) is (verdict is FrameVerdict.ACCEPT)
        return
    with pytest.raises((ConnectionFault, StreamFault)) as fault:
        streams.accepts(kind, stream_id)
    never_opened = verdict is FrameVerdict.NEVER_OPENED or stream_id == 9
    assert isinstance(fault.value, StreamFault) == (verdict is FrameVerdict.STREAM_CLOSED)
    assert fault.value.code is (
        ErrorCode.PROTOCOL_ERROR if never_opened else ErrorCode.STREAM_CLOSED
    )


def test_a_dropped_stream_closes_when_the_client_ends_it(streams):
    """Its id is not remembered any more."""
    streams.end_dropped(3)
    assert streams.state(3) is StreamState.CLOSED


def test_few_dropped_streams_are_remembered(streams):
    """The oldest id is forgotten first."""
    for stream_id in (13, 15):
        streams.open(stream_id)
        streams.drop(stream_id)
    assert [streams.state(stream_id) for stream_id in (3, 13, 15)] == [
        StreamState.CLOSED,
        StreamState.DROPPED,
        StreamState.DROPPED,
    ]
