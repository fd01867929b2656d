"""SpendLink on a real store: every request is answered once and never sent twice."""

import asyncio
import contextlib
import logging

from authz.core.errors import OutcomeUnknown, Unavailable, Unreadable
from authz.core.limits.charge import SpendReply, SpendRequest, charge_for
from authz.storage import functions
from authz.storage.limits.spend_link import SpendLink
from authz.storage.limits.spend_script import SPEND, arguments
from tests.spending.plans import make_terms
from tests.support.gate import Gate, Verdict
from tests.support.real import RealClock, eventually
from tests.support.storage import stored

TERMS = make_terms("1000/min")
HASH = stored.limit("k" * 16)


def used(valkey):
    """Return the count in the store, read by the script itself."""
    words = arguments(charge_for(TERMS, 1, RealClock().wall_ms()), SpendRequest(0))
    return 1000 - valkey.admin.eval(SPEND, *words)[2]


@contextlib.asynccontextmanager
async def spending(endpoint, deadline=30.0):
    """Yield an open SpendLink."""
    link = SpendLink(endpoint, RealClock(), instance="one", deadline=deadline)
    running = asyncio.create_task(link.run())
    try:
        await eventually(lambda: link.is_open)
        yield link
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def ask(link, wanted=1, terms=TERMS, returned=0):
    """Send one request and return the one reply that was delivered."""
    delivered = []
    now = RealClock().wall_ms()
    link.spend(charge_for(terms, 1, now), SpendRequest(wanted, returned=returned), delivered.append)
    assert not delivered
    await eventually(lambda: delivered)
    [answer] = delivered
    return answer


async def test_a_question_is_answered_with_a_receipt(valkey):
    """A reply says how many requests are granted, the store's time, and the units left."""
    async with spending(valkey.endpoint) as link:
        answer = await ask(link, 3)
    assert isinstance(answer, SpendReply)
    assert answer.granted == 3
    assert answer.left == (997,)
    assert abs(answer.now_us / 1e3 - RealClock().wall_ms()) < 60_000


async def test_it_can_be_waited_for_until_all_is_answered(own_valkey):
    """After `drain` all earlier requests are answered. If the store hangs, it ends after two
    deadlines.
    """
    answers = []
    async with spending(own_valkey.endpoint, deadline=1.0) as link:
        asked = charge_for(TERMS, 1, RealClock().wall_ms())
        for _ in range(3):
            link.spend(asked, SpendRequest(1), answers.append)
        await link.drain()
        assert [answer.granted for answer in answers] == [1, 1, 1]

        own_valkey.pause()
        await link.drain()
        own_valkey.resume()
        own_valkey.kill()
        await eventually(lambda: not link.is_open)
        await link.drain()


async def test_a_script_that_was_forgotten_is_loaded_and_run_once(valkey):
    """If the store lost the script, all pending requests get NOSCRIPT and each is then counted
    once.
    """
    async with spending(valkey.endpoint) as link:
        valkey.admin.script_flush()
        answers = await asyncio.gather(*(ask(link) for _ in range(5)))
    assert sum(answer.granted for answer in answers) == 5
    assert used(valkey) == 5


async def test_a_function_that_was_lost(own_valkey):
    """A link that counts by a function counts by the script once the store lost the function."""
    async with own_valkey.endpoint.client() as client:
        assert await functions.load(client) == ""
    async with spending(own_valkey.endpoint) as link:
        assert (await ask(link)).granted == 1
        assert own_valkey.admin.info("commandstats")["cmdstat_fcall"]["calls"] == 2
        assert "cmdstat_evalsha" not in own_valkey.admin.info("commandstats")
        own_valkey.admin.function_flush()
        answers = await asyncio.gather(*(ask(link) for _ in range(5)))
    assert sum(answer.granted for answer in answers) == 5
    assert used(own_valkey) == 6


async def test_a_lost_function_of_a_user_that_may_load_no_script(own_valkey):
    """The reason is the lost function and not a right. After `authz init` the link counts again."""
    rules = ("on", ">secret", "~*", "&*", "+@all", "-script|load", "-evalsha")
    own_valkey.admin.execute_command("ACL", "SETUSER", "counter", *rules)
    async with own_valkey.endpoint.client() as client:
        await functions.load(client)
        async with spending(own_valkey.login("counter", "secret")) as link:
            assert (await ask(link)).granted == 1
            own_valkey.admin.function_flush()
            assert "run `authz init`" in str(await ask(link))
            assert "it lacks a function" in link.reason
            assert "NOPERM" not in link.reason

            await functions.load(client)
            await eventually(lambda: link.is_open)
            assert (await ask(link)).granted == 1
            assert link.reason == ""


async def test_nothing_is_asked_of_a_store_that_is_not_there(own_valkey):
    """Without a store a request fails at once. When the store is back, the link is too."""
    async with spending(own_valkey.endpoint) as link:
        own_valkey.kill()
        await eventually(lambda: not link.is_open)
        answer = await ask(link)
        assert isinstance(answer, Unavailable)
        assert not isinstance(answer, OutcomeUnknown)

        own_valkey.start()
        await eventually(lambda: link.is_open)
        assert (await ask(link)).granted == 1


async def test_a_store_that_hangs_is_given_up_after_the_deadline(own_valkey):
    """If the store hangs, waiting requests get OutcomeUnknown and the link is replaced."""
    async with spending(own_valkey.endpoint, deadline=0.05) as link:
        own_valkey.pause()
        answer = await ask(link)
        assert isinstance(answer, OutcomeUnknown)
        assert not link.is_open
        own_valkey.resume()
        await eventually(lambda: link.is_open)
    await eventually(lambda: used(own_valkey) == 1)
    async with spending(own_valkey.endpoint) as link:
        assert (await ask(link)).left == (998,)


async def test_what_was_lost_on_the_way_is_not_sent_again(own_valkey):
    """A request whose reply was lost is counted once by the store and not sent again."""
    async with Gate(own_valkey.port) as gate:
        endpoint = type(own_valkey.endpoint).parse(f"redis://127.0.0.1:{gate.port}/0")
        async with spending(endpoint, deadline=0.05) as link:
            gate.set(lambda _name: (Verdict.PASS, Verdict.LOSE))
            assert isinstance(await ask(link), OutcomeUnknown)
            gate.set(lambda _name: (Verdict.PASS, Verdict.PASS))
            await eventually(lambda: link.is_open)
        await eventually(lambda: used(own_valkey))
    assert used(own_valkey) == 1


async def test_a_garbled_account_is_unreadable_and_said_once(valkey, caplog):
    """Garbled counters give Unreadable, are logged once, and do not end the link."""
    caplog.set_level(logging.INFO)
    valkey.admin.hset(HASH, "minute min unit", "rubbish")
    other = make_terms("10/min", kid="o" * 16)
    async with spending(valkey.endpoint) as link:
        for _ in range(3):
            assert isinstance(await ask(link), Unreadable)
        assert (await ask(link, terms=other)).granted == 1
        assert link.is_open
    assert len([line for line in caplog.messages if "cannot be read" in line]) == 1
    assert HASH in caplog.text


async def test_a_store_that_takes_no_writes_is_left(own_valkey):
    """If the store became a replica, nothing is counted and the link is replaced."""
    async with spending(own_valkey.endpoint) as link:
        own_valkey.admin.config_set("min-replicas-to-write", 1)
        answer = await ask(link)
        assert isinstance(answer, Unavailable)
        assert not isinstance(answer, OutcomeUnknown)
        own_valkey.admin.config_set("min-replicas-to-write", 0)
        await eventually(lambda: link.is_open)
        assert (await ask(link)).left == (999,)


async def test_a_store_that_will_not_count_is_said_to_until_it_does(own_valkey, caplog):
    """A refusal to count is logged once and stands until a reply, even if connections succeed."""
    caplog.set_level(logging.INFO)
    async with spending(own_valkey.endpoint) as link:
        assert link.reason == ""
        own_valkey.admin.config_set("min-replicas-to-write", 1)
        for _ in range(3):
            await eventually(lambda: link.is_open)
            assert isinstance(await ask(link), Unavailable)
        await eventually(lambda: link.is_open)
        assert "NOREPLICAS" in link.reason
        assert [line for line in caplog.messages if "are counted" in line] == []

        own_valkey.admin.config_set("min-replicas-to-write", 0)
        assert (await ask(link)).granted == 1
        assert link.reason == ""
    said = [line for line in caplog.messages if "counted in the store" in line]
    assert ["not counted" in line for line in said] == [True, False]


async def test_a_replica_is_not_counted_on(own_valkey, caplog):
    """A replica is refused, because its counts are lost at the next message of its primary."""
    own_valkey.admin.replicaof("127.0.0.1", "1")
    link = SpendLink(own_valkey.endpoint, RealClock(), instance="one", deadline=30)
    running = asyncio.create_task(link.run())
    await eventually(lambda: "counted on the primary" in caplog.text)
    assert not link.is_open
    assert isinstance(await ask(link), Unavailable)
    running.cancel()
