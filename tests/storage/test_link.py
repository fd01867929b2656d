"""Link: every command gets exactly one answer, and everything arrives in the store's order."""

import asyncio

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.errors import Unavailable
from authz.storage.link import Link, LinkLost
from tests.real import eventually
from tests.storage.scripted import scripted_store

PUSH = b">3\r\n+message\r\n+there\r\n+note\r\n"
FOREVER = 3600.0


class Wire:
    """A transport that remembers what was written."""

    def __init__(self):
        self.written = []
        self.aborted = False

    def write(self, data):
        self.written.append(data)

    def abort(self):
        self.aborted = True


class Client:
    """A link, and all that it handed over in order: pushes, ("answer", name, value), "lost"."""

    def __init__(self, max_pending=100):
        self.events = []
        self.link = Link(self.events.append, lambda: self.events.append("lost"), max_pending)

    def send(self, name, *command):
        self.link.send(lambda reply: self.events.append(("answer", name, reply)), *command)

    def answers(self):
        """Name -> the answers it got."""
        found = {}
        for event in self.events:
            if event[0] == "answer":
                found.setdefault(event[1], []).append(event[2])
        return found

    def connect(self):
        """To a wire that nobody is at the other end of."""
        wire = Wire()
        self.link.connection_made(wire)
        return wire


async def open_client(endpoint, **options):
    """A client of a server."""
    client = Client(**options)
    await endpoint.open(lambda: client.link)
    return client


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
    """A read before a change is answered before that change's push, a read after it, after."""
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
    """RESP3 answers SUBSCRIBE with a push, but refuses it with a reply: both count as its answer."""
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
    """The reply of a call that nobody waits for any more is dropped, not given to the next."""
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
    """An error reply is handed over as a value, and raised by `call`."""
    client = await open_client(valkey.endpoint)
    client.send("wrong", "HELLO", "99")

    with pytest.raises(Unavailable, match="unknown command"):
        await client.link.call("NONSENSE")

    (error,) = client.answers()["wrong"]
    assert isinstance(error, hiredis.ReplyError)
    client.link.abort()


async def test_commands_of_one_turn_leave_in_one_write():
    """What is sent in one turn of the loop is written at once, in order."""
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
    """The same stream, cut anywhere, is handed over as the same events in the same order."""
    stream = b"".join(messages)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=10))
    edges = [0, *sorted(cuts), len(stream)]
    client = Client()
    client.connect()
    for number, message in enumerate(messages):
        if MESSAGES[message] == "reply":
            client.send(number, "ANY")

    for start, end in zip(edges, edges[1:], strict=False):
        client.link.data_received(stream[start:end])

    got = [("reply", event[1]) if event[:1] == ("answer",) else "push" for event in client.events]
    assert got == [
        ("reply", number) if MESSAGES[message] == "reply" else "push"
        for number, message in enumerate(messages)
    ]


ENDINGS = {
    "close": b"",
    "half a reply": b"$10\r\nhalf",
    "half a push": b">3\r\n+message\r\n",
    "not RESP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a map with a list for a key": b"%1\r\n*0\r\n+x\r\n",
    "a length beyond reason": b"*99999999999\r\n",
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_every_command_is_answered_once(ending):
    """However the connection ends: the answered ones have their reply, the others LinkLost."""

    async def script(peer):
        await peer.commands(5)
        await peer.say(b"+one\r\n" + PUSH + b"+two\r\n" + ENDINGS[ending])

    async with scripted_store(script) as endpoint:
        client = await open_client(endpoint)
        for number in range(5):
            client.send(number, "ANY", str(number))
        await eventually(lambda: len(client.answers()) == 5)
        await asyncio.sleep(0)

    answers = client.answers()
    assert [answers[0], answers[1]] == [["one"], ["two"]]
    assert all(len(found) == 1 for found in answers.values())
    assert [type(answers[number][0]) for number in (2, 3, 4)] == [LinkLost] * 3
    assert client.events.count("lost") == 1
    assert not client.link.is_open


async def test_reply_that_nobody_asked_for_ends_the_link():
    """A reply too many means that replies and commands no longer match; the reason tells it."""

    async def script(peer):
        await peer.say(b"-ERR max number of clients reached\r\n")
        await asyncio.sleep(FOREVER)

    async with scripted_store(script) as endpoint:
        client = await open_client(endpoint)
        await eventually(lambda: not client.link.is_open)

        with pytest.raises(LinkLost, match="max number of clients"):
            await client.link.call("PING")


async def test_a_server_that_speaks_resp2_only():
    """A server without RESP3 is refused with a word on what is needed."""

    async def script(peer):
        await peer.command()
        await peer.say(b"*2\r\n+proto\r\n:2\r\n")
        await asyncio.sleep(FOREVER)

    async with scripted_store(script) as endpoint:
        client = await open_client(endpoint)
        with pytest.raises(Unavailable, match="RESP3"):
            await endpoint.greet(client.link, "test")
        client.link.abort()


async def test_a_command_that_cannot_be_encoded_does_not_shift_the_replies():
    """A command that is no text raises in `send` and leaves nothing behind that waits."""
    client = Client()
    client.connect()

    with pytest.raises(UnicodeEncodeError):
        client.send("garbled", "GET", "\ud800")
    client.send("good", "GET", "a")
    client.link.data_received(b"+one\r\n")

    assert client.events == [("answer", "good", "one")]


async def test_more_than_max_pending_is_refused():
    """Commands beyond the bound are refused at once, the others are answered."""
    client = Client(max_pending=3)
    client.connect()

    for number in range(5):
        client.send(number, "ANY")
    await asyncio.sleep(0)
    client.link.data_received(b"+a\r\n+b\r\n+c\r\n")

    answers = client.answers()
    assert [answers[number] for number in range(3)] == [["a"], ["b"], ["c"]]
    for number in (3, 4):
        (refusal,) = answers[number]
        assert type(refusal) is Unavailable
    assert client.link.is_open


async def test_a_store_that_does_not_read():
    """While the socket takes nothing, commands are refused; when it does again, they are sent."""
    read = asyncio.Event()

    async def script(peer):
        await read.wait()
        while True:
            await peer.command()
            await peer.say(b"+OK\r\n")

    def refused():
        client.send("large", "ECHO", "x" * 1_000_000)
        return any(isinstance(found, Unavailable) for found in client.answers().get("large", []))

    async with scripted_store(script) as endpoint:
        client = await open_client(endpoint)
        await eventually(refused)
        accepted = len(client.link._pending)
        assert accepted > 0

        read.set()
        await eventually(lambda: client.answers()["large"].count("OK") == accepted)
        assert await client.link.call("PING") == "OK"
        client.link.abort()


async def test_abort():
    """After `abort` each waiting command is answered LinkLost and the socket is dropped."""
    client = Client()
    wire = client.connect()
    client.send(1, "ANY")
    client.send(2, "ANY")

    client.link.abort()
    client.link.abort()
    client.link.connection_lost(None)
    await asyncio.sleep(0)

    assert wire.aborted
    assert client.events[0] == "lost"
    assert [type(found) for _, _, found in client.events[1:]] == [LinkLost, LinkLost]


async def test_nothing_is_handed_over_after_the_end():
    """What stands behind the end in the same bytes, or comes later, is dropped."""
    client = Client()
    client.connect()
    client.link._on_push = lambda _push: client.link.abort()
    client.send(1, "ANY")

    client.link.data_received(PUSH + b"+late\r\n" + PUSH)
    client.link.data_received(b"+later\r\n")
    await asyncio.sleep(0)

    (lost, (_, _, answer)) = client.events
    assert lost == "lost"
    assert type(answer) is LinkLost


async def test_send_after_the_end():
    """A command for a link that has ended is answered LinkLost, not inside the call."""
    client = Client()
    client.send("never connected", "ANY")
    client.connect()
    client.link.abort()
    client.events.clear()
    client.send("ended", "ANY")
    assert client.events == []
    await asyncio.sleep(0)

    assert {name: type(found[0]) for name, found in client.answers().items()} == {
        "never connected": LinkLost,
        "ended": LinkLost,
    }


@pytest.mark.parametrize("fault", [IndexError, TypeError, KeyError])
async def test_a_fault_in_a_callback_ends_the_link(fault):
    """A fault of ours is shown, not taken for the store's; every other command is answered."""
    faults = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _loop, context: faults.append(type(context["exception"]))
    )

    async def script(peer):
        await peer.commands(3)
        await peer.say(b"+one\r\n" + b"+two\r\n")
        await asyncio.sleep(FOREVER)

    def fail(_reply):
        raise fault

    async with scripted_store(script) as endpoint:
        client = await open_client(endpoint)
        client.link.send(fail, "ANY")
        client.send("behind", "ANY")
        client.link.send(fail, "ANY")
        client.send("last", "ANY")
        await eventually(lambda: len(client.answers()) == 2)

    assert faults == [fault, fault]
    assert {type(found[0]) for found in client.answers().values()} == {LinkLost}
    assert client.events.count("lost") == 1
