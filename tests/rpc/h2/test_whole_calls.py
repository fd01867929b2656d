"""Calls that come whole have the same effect as the same frames one by one."""

from collections.abc import Iterator

from hyperframe.frame import DataFrame, PingFrame, RstStreamFrame
from hypothesis import event, example, given
from hypothesis import strategies as st

from authz.process.listener import ConnectionLimits
from authz.rpc.h2.frames import MAX_FRAME_BYTES, MAX_STREAM_ID, FrameType, frame
from authz.rpc.h2.whole_calls import WholeCalls
from tests.support.h2.client import GRPC, PATH, Client, framed

LIMITS = ConnectionLimits(streams=3, message_bytes=40)
TRACED = [*GRPC, ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")]
LENGTH = [*GRPC, ("content-length", "10")]
OTHER = [(name, "/x" if value == PATH else value) for name, value in GRPC]
KINDS = [GRPC, TRACED, LENGTH, OTHER]
MESSAGES = [b"hello", b"", b"x" * 40, b"x" * 41]

# A step: how far the stream id goes on, the kind of its fields, the message, and what is odd.
ODD = [
    *("", "", "", "", "compressed", "short", "long", "open", "padded", "other stream"),
    *("reserved", "end of headers", "cut", "ping between", "reset", "huge"),
]
STEPS = st.lists(
    st.tuples(
        st.sampled_from([2, 2, 2, 2, 4, 1, 0, -2]),
        st.integers(0, len(KINDS) - 1),
        st.sampled_from(MESSAGES),
        st.sampled_from(ODD),
    ),
    max_size=8,
)


def client() -> Client:
    """A client whose blocks the server has seen."""
    found = Client.greeted(LIMITS, echo=False)
    for number, fields in enumerate(2 * KINDS):  # twice, because the first block sizes the table
        found.send(found.call(2 * number + 1, b"hello", fields))
        for call, message in found.calls:
            found.connection.responses.respond(call, message)
        found.calls.clear()
    found.flush()
    return found


def pieces(sender: Client, steps) -> Iterator[bytes]:
    """The frames of the steps, one at a time."""
    stream = 4 * len(KINDS) - 1
    for further, kind, message, odd in steps:
        stream = max(stream + further, 1)
        flags = ["END_HEADERS", "END_STREAM"] if odd == "end of headers" else ["END_HEADERS"]
        headers = sender.request(stream, KINDS[kind], *flags).serialize()
        if odd == "reserved":
            headers = headers[:5] + bytes([headers[5] | 0x80]) + headers[6:]
        yield headers
        if odd == "ping between":
            yield PingFrame(0, b"12345678").serialize()
        body = framed(message, compressed=int(odd == "compressed"))
        body = {"short": body[:-1], "long": body + b"x", "cut": body[:3]}.get(odd, body)
        if odd == "huge":
            body = framed(b"x" * (MAX_FRAME_BYTES + 1))
            yield frame(FrameType.DATA, 1, stream, body)
            continue
        data = DataFrame(stream + 2 * (odd == "other stream"), body)
        if odd != "open":
            data.flags.add("END_STREAM")
        if odd == "padded":
            data.flags.add("PADDED")
            data.pad_length = 3
        yield data.serialize()
        if odd == "reset":
            yield RstStreamFrame(stream, 8).serialize()


def seen(taken: Client, sent: list) -> tuple:
    """Everything that a client sees, and what the server keeps.

    A call that is cancelled in the read that brought it is never reported, so it does not count.
    """
    connection, streams = taken.connection, taken.connection.streams
    calls = [each for each in taken.calls if each[0] not in taken.cancelled]
    return (
        [each.serialize() for each in sent],
        [(call.id, call.state, message, call.header_block) for call, message in calls],
        {at: (call.state, call.received, call.deadline) for at, call in streams.calls.items()},
        (streams.states.highest, streams.last_id, streams.due, streams.opened_at),
        (streams.bodies._consumed, streams.bodies._held, str(connection.fault)),
        dict(taken.probe.events),
    )


@given(STEPS)
@example([(2, 0, b"hello", "")] * 5)
@example([(2, 0, b"hello", "reset"), (2, 1, b"", "")])
def test_a_call_has_the_same_effect_whole_and_in_frames(steps):
    """The frames may be allowed, refused, or the end of the connection."""
    whole, single = client(), client()
    taken = 0
    take = whole.connection._reader._take_call

    def counting(*arguments):
        nonlocal taken
        after = take(*arguments)
        taken += bool(after)
        return after

    whole.connection._reader._take_call = counting
    frames = list(pieces(Client.greeted(LIMITS), steps))
    at_once = whole.send(b"".join(frames))
    one_by_one = [answer for each in frames for answer in single.send(each)]
    event(f"{taken} whole calls of {len(steps)}")
    assert seen(whole, at_once) == seen(single, one_by_one)


def test_a_call_that_is_known_is_taken_whole():
    """The second call with the same block, and one that differs in its trace."""
    taken = []
    found = Client.greeted(LIMITS)
    take = found.connection._reader._take_call
    assert isinstance(take.__self__, WholeCalls)
    assert take.__name__ == "take"
    found.connection._reader._take_call = lambda *a: taken.append(take(*a)) or taken[-1]
    other = [*TRACED[:-1], ("traceparent", TRACED[-1][1].replace("0af7", "1bf8"))]
    for number, fields in enumerate([GRPC, GRPC, GRPC, TRACED, other]):
        found.send(found.call(2 * number + 1, b"%d" % number, fields))
        assert found.answered(2 * number + 1) == b"%d" % number
    assert [bool(after) for after in taken] == [False, False, True, False, True]
    update = found.request(11)
    update.data = b"\x20" + update.data
    body = DataFrame(11, framed(b"bye"), flags=["END_STREAM"])
    found.send(update.serialize() + body.serialize())
    assert taken[-1]
    assert found.answered(11) == b"bye"


def test_no_call_is_taken_after_the_highest_stream_id():
    """A reserved bit makes no stream id above the highest one: both ways end the connection."""
    whole, single = client(), client()
    last = MAX_STREAM_ID
    headers = whole.request(last).serialize()
    data = DataFrame(last, framed(b"hello"), flags=["END_STREAM"]).serialize()
    beyond = [part[:5] + b"\x80\0\0\1" + part[9:] for part in (headers, data)]
    at_once = whole.send(b"".join([headers, data, *beyond]))
    one_by_one = [answer for each in (headers, data, *beyond) for answer in single.send(each)]
    assert single.connection.fault is not None
    assert seen(whole, at_once) == seen(single, one_by_one)
