"""Link: every command gets its reply, and everything arrives in the store's order."""

import asyncio
import itertools

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.errors import Unavailable
from tests.support.storage.client import Client, open_client


async def test_replies_in_order(valkey):
    """Each reply goes to the command that asked for it."""
    client = await open_client(valkey.endpoint, max_pending=2000)
    await valkey.endpoint.greet(client.link, "test")

    for number in range(1000):
        client.send(number, "ECHO", str(number))
    await client.link.call("PING")

    assert client.events == [("answer", number, str(number)) for number in range(1000)]
    client.link.abort()


async def test_pushes_stand_between_the_replies(valkey):
    """A read before a change is answered before that change's push, a later read after it."""
    client = await open_client(valkey.endpoint)
    await valkey.endpoint.greet(client.link, "test")
    await client.link.call("SUBSCRIBE", "there")

    client.send("before", "GET", "x")
    client.send("set", "SET", "x", "new")
    client.send("publish", "PUBLISH", "there", "note")
    client.send("after", "GET", "x")
    await client.link.call("PING")

    order = [event if event[0] == "message" else event[1] for event in client.events]
    assert order.index(["message", "there", "note"]) in {2, 3}  # its own: beside its reply
    assert [name for name in order if isinstance(name, str)] == [
        "before",
        "set",
        "publish",
        "after",
    ]
    assert client.answers()["before"] == [None]
    assert client.answers()["after"] == ["new"]
    client.link.abort()


async def test_refused_subscription_does_not_shift_the_replies(valkey):
    """SUBSCRIBE is answered by a push if accepted and by a reply if refused; both end it."""
    valkey.admin.execute_command(
        "ACL", "SETUSER", "narrow", "on", "nopass", "~*", "+@all", "resetchannels", "&mine"
    )
    endpoint = valkey.login("narrow", "any")
    client = await open_client(endpoint)
    await endpoint.greet(client.link, "test")

    with pytest.raises(Unavailable, match="NOPERM"):
        await client.link.call("SUBSCRIBE", "there")

    assert await client.link.call("ECHO", "first") == "first"
    assert (await client.link.call("SUBSCRIBE", "mine"))[1] == "mine"
    assert await client.link.call("ECHO", "second") == "second"
    client.link.abort()


async def test_cancelled_call_does_not_shift_the_replies(valkey):
    """The reply of a cancelled call is dropped and not given to the next call."""
    client = await open_client(valkey.endpoint)
    await valkey.endpoint.greet(client.link, "test")

    calls = [asyncio.create_task(client.link.call("ECHO", str(n))) for n in range(50)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    found = await asyncio.gather(*calls, return_exceptions=True)

    assert found[1::2] == [str(number) for number in range(1, 50, 2)]
    assert await client.link.call("ECHO", "last") == "last"
    client.link.abort()


async def test_error_reply_is_an_answer(valkey):
    """An error reply is delivered as a value, and raised by `call`."""
    client = await open_client(valkey.endpoint)
    client.send("wrong", "HELLO", "99")

    with pytest.raises(Unavailable, match="unknown command"):
        await client.link.call("NONSENSE")

    (error,) = client.answers()["wrong"]
    assert isinstance(error, hiredis.ReplyError)
    client.link.abort()


async def test_commands_of_one_turn_leave_in_one_write():
    """Commands sent in one iteration of the event loop leave in one write, in order."""
    client = Client()
    wire = client.connect()

    client.send(1, "GET", "a")
    client.send(2, "GET", "b")
    assert wire.written == []
    await asyncio.sleep(0)
    client.send(3, "GET", "c")
    await asyncio.sleep(0)

    assert len(wire.written) == 2
    assert wire.written[0].index(b"a\r\n") < wire.written[0].index(b"b\r\n")


MESSAGES = {
    b"+OK\r\n": "reply",
    b"$5\r\nhello\r\n": "reply",
    b"_\r\n": "reply",
    b"%1\r\n$1\r\na\r\n$4\r\n\r\n\r\n\r\n": "reply",
    b"-ERR no\r\n": "reply",
    b">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n": "reply",
    b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n": "push",
    b">2\r\n+invalidate\r\n*0\r\n": "push",
    b">0\r\n": "push",
}


@given(st.lists(st.sampled_from(sorted(MESSAGES)), max_size=20), st.data())
async def test_chunks_do_not_matter(messages, data):
    """The same bytes in any chunks are delivered as the same events in the same order."""
    stream = b"".join(messages)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=10))
    edges = [0, *sorted(cuts), len(stream)]
    client = Client()
    client.connect()
    for number, message in enumerate(messages):
        if MESSAGES[message] == "reply":
            client.send(number, "ANY")

    for start, end in itertools.pairwise(edges):
        client.link.data_received(stream[start:end])

    got = [("reply", event[1]) if event[:1] == ("answer",) else "push" for event in client.events]
    assert got == [
        ("reply", number) if MESSAGES[message] == "reply" else "push"
        for number, message in enumerate(messages)
    ]
