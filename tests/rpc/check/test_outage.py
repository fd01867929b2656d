"""Responses while the store is unreachable."""

import asyncio

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

from authz.core.errors import Unavailable
from authz.core.events import Event
from authz.core.records import Status
from tests.support.core.key_reference import checksum
from tests.support.fakes import DAY, NOW
from tests.support.rpc.answers import headers_of
from tests.support.rpc.door import Door
from tests.support.rpc.messages import check_request
from tests.support.rpc.reading import OTHER, RING

GRACE = 30.0


@pytest.fixture
def door() -> Door:
    """A door whose keys go on for 30 s."""
    return Door(GRACE)


def carrying(key: str, **message) -> bytes:
    """A request with a key."""
    return check_request([("x-api-key", key)], **message).SerializeToString()


def asked(door: Door, key: str, **message) -> CheckResponse:
    """The answer of a door that does not wait."""
    made = door.check(carrying(key, **message))
    assert isinstance(made, bytes)
    return CheckResponse.FromString(made)


def is_stale(answer: CheckResponse) -> bool:
    """Does the answer say that it is? Everywhere or nowhere."""
    said = "stale" in answer.dynamic_metadata
    if answer.HasField("ok_response"):
        ok = answer.ok_response
        assert said is (headers_of(ok).get("x-auth-stale") == "true")
        assert said is ("x-auth-stale" not in ok.headers_to_remove)
    if said:
        assert answer.dynamic_metadata["stale"] is True
    return said


async def test_a_known_key_goes_on_and_its_answers_say_so(door):
    """Marked for the backend and for Envoy's filters, and counted; unmarked again afterwards."""
    _, key = door.issue()
    assert not is_stale(await door.answer(carrying(key)))

    door.cache.trust(0.0)
    for _ in range(2):
        answer = asked(door, key)
        assert (answer.status.code, is_stale(answer)) == (0, True)
    assert door.probe.events[Event.STALE_ALLOWED] == 2

    door.cache.trust(float("inf"))
    answer = asked(door, key)
    assert (answer.status.code, is_stale(answer)) == (0, False)
    assert door.probe.events[Event.STALE_ALLOWED] == 2


async def test_after_the_grace_it_is_unavailable(door):
    """To the millisecond, and by error_response, so that Envoy's failure modes apply."""
    _, key = door.issue()
    await door.answer(carrying(key))
    door.cache.trust(0.0)

    door.clock.advance(GRACE - 0.001)
    assert asked(door, key).status.code == 0
    door.clock.advance(0.001)
    answer = await door.answer(carrying(key))

    assert (answer.status.code, answer.error_response.status.code) == (14, 503)
    assert not is_stale(answer)


@pytest.mark.parametrize(("own", "lasts"), [(0, 0.0), (1500, 1.5), (60_000, 60.0)])
async def test_a_key_may_have_a_grace_of_its_own(door, own, lasts):
    """None for a critical key, or more than the sidecar is set to."""
    _, key = door.issue(outage_grace=own)
    await door.answer(carrying(key))
    door.cache.trust(0.0)

    if lasts:
        door.clock.advance(lasts - 0.001)
        assert asked(door, key).status.code == 0
        door.clock.advance(0.001)

    assert (await door.answer(carrying(key))).status.code == 14


async def test_a_forged_key_is_told_without_the_store_and_that_is_not_stale(door):
    """Of a kid that is held, too: its tag needs nothing that may have changed."""
    _, key = door.issue()
    await door.answer(carrying(key))
    forged = key[:-17] + "0" * 11
    mistyped = key[:-1] + ("1" if key[-1] == "0" else "0")
    door.cache.trust(0.0)

    answers = [asked(door, forged + checksum(forged)), asked(door, mistyped)]

    assert [answer.dynamic_metadata["reason"] for answer in answers] == ["forged", "malformed"]
    assert not any(is_stale(answer) for answer in answers)


async def test_an_unknown_key_is_unavailable_at_once(door):
    """No request waits to find out, and the store is not asked."""
    door.cache.trust(0.0)

    answer = await door.answer(carrying(OTHER))

    assert (answer.status.code, answer.error_response.status.code) == (14, 503)
    assert door.source.loads == {}


async def test_authority_is_judged_in_an_outage_too(door):
    """A key expires to the millisecond, and lacks the scopes that it lacks; the denial says stale.

    The TTL has no say.
    """
    _, key = door.issue(expires_at=NOW + 70_000, outage_grace=DAY)
    await door.answer(carrying(key))
    door.cache.trust(0.0)

    denied = asked(door, key, extensions={"scopes": "models:generate"})
    door.clock.advance(69.999)
    last = asked(door, key)
    door.clock.advance(0.001)
    expired = asked(door, key)

    assert denied.dynamic_metadata["reason"] == "insufficient_scope"
    assert last.status.code == 0
    assert expired.dynamic_metadata["reason"] == "expired"
    assert is_stale(denied)
    assert is_stale(expired)


async def test_a_wrong_secret_opens_nothing_in_an_outage(door):
    """Another secret of a kid that is known is refused, not unavailable."""
    record, key = door.issue()
    await door.answer(carrying(key))
    door.cache.trust(0.0)

    answer = asked(door, RING.mint("live", record.kid).text)

    assert answer.dynamic_metadata["reason"] == "wrong_secret"


@pytest.mark.parametrize("read_before", [True, False])
async def test_a_key_seen_revoked_is_refused_as_such_in_any_outage(door, read_before):
    """Whether it was read again since or not, however long the outage is."""
    record, key = door.issue()
    await door.answer(carrying(key))
    door.source.records[record.kid] = door.issue(kid=record.kid, status=Status.REVOKED)[0]
    door.cache.forget(record.kid, revoked=True)
    if read_before:
        door.source.records[record.kid] = record  # a store that went back knows no better
        await door.answer(carrying(key))
    door.cache.trust(0.0)

    door.clock.advance(10 * GRACE)
    answer = asked(door, key)

    assert answer.dynamic_metadata["reason"] == "revoked"


async def test_a_store_that_does_not_answer_in_time_is_an_outage(door):
    """A key whose TTL is over goes on when the lookup fails, as nobody said that it changed."""
    _, key = door.issue(outage_grace=0)
    await door.answer(carrying(key))
    door.clock.advance(61)
    made = door.check(carrying(key))
    assert not isinstance(made, bytes)
    waiting = asyncio.ensure_future(made)
    while not door.source.pending:
        await asyncio.sleep(0)
    door.source.answer(door.source.pending[0], Unavailable("the link is overloaded"))

    answer = CheckResponse.FromString(await waiting)

    assert (answer.status.code, is_stale(answer)) == (0, True)
