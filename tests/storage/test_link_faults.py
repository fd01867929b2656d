"""Link with faults: every command is answered once, and nothing is delivered after the end."""

import asyncio

import pytest

from authz.core.errors import Unavailable
from authz.storage.hello import refuse_old
from authz.storage.link import LinkLost
from tests.support.real import eventually
from tests.support.storage.client import Client, open_client
from tests.support.storage.scripted import scripted_store

PUSH = b">3\r\n+message\r\n+there\r\n+note\r\n"
FOREVER = 3600.0


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
    """When the connection ends, answered commands have their reply and the others get LinkLost."""

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
    """An unrequested reply ends the link with that reason, because replies may be shifted."""

    async def script(peer):
        await peer.say(b"-ERR max number of clients reached\r\n")
        await asyncio.sleep(FOREVER)

    async with scripted_store(script) as endpoint:
        client = await open_client(endpoint)
        await eventually(lambda: not client.link.is_open)

        with pytest.raises(LinkLost, match="max number of clients"):
            await client.link.call("PING")


async def test_a_server_that_speaks_resp2_only():
    """A server without RESP3 is refused with the required version."""

    async def script(peer):
        await peer.command()
        await peer.say(b"*2\r\n+proto\r\n:2\r\n")
        await asyncio.sleep(FOREVER)

    async with scripted_store(script) as endpoint:
        client = await open_client(endpoint)
        with pytest.raises(Unavailable, match="RESP3"):
            await endpoint.greet(client.link, "test")
        client.link.abort()


@pytest.mark.parametrize(
    "version", ["", "x", "9" * 5000, pytest.param(10**5000, id="huge"), ["6.2"], None, "7.0.0"]
)
def test_a_version_that_says_nothing_old_is_accepted(version):
    """No text in the reply to HELLO ends the task that connects."""
    refuse_old({"version": version})


@pytest.mark.parametrize("version", ["6.2.14", "5.0", "2", "0.1"])
def test_a_server_that_is_too_old(version):
    """The refusal names the version that is needed."""
    with pytest.raises(Unavailable, match=f"{version}; Redis 7 or Valkey is needed"):
        refuse_old({"version": version})


async def test_a_command_that_cannot_be_encoded_does_not_shift_the_replies():
    """A command that cannot be encoded raises in `send` and leaves no pending entry."""
    client = Client()
    client.connect()

    with pytest.raises(UnicodeEncodeError):
        client.send("garbled", "GET", "\ud800")
    client.send("good", "GET", "a")
    client.link.data_received(b"+one\r\n")

    assert client.events == [("answer", "good", "one")]


async def test_more_than_max_pending_is_refused():
    """Commands beyond `max_pending` are refused at once; the others are answered."""
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
    """While the socket accepts no data, commands are refused. Afterwards they are sent again."""
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
    """After `abort` each pending command gets LinkLost and the socket is closed."""
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
    """Messages after the end, in the same bytes or later, are dropped."""
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
    """A command on an ended link gets LinkLost, not inside the call."""
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
    """An exception in a callback ends the link, and every other command is answered."""
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
