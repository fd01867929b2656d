"""CheckHandler: every request gets a decision, whatever happens inside."""

import asyncio
import ipaddress
import json
import logging

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

from authz.core import addresses
from authz.core.decision import Deny, Reason
from authz.core.errors import Unavailable
from authz.core.events import Event
from authz.rpc.check.handler import CheckHandler
from tests.support.rpc.door import Door
from tests.support.rpc.messages import check_request
from tests.support.rpc.reading import OTHER


@pytest.fixture
def door() -> Door:
    """A door over an empty store."""
    return Door()


def carrying(key: str, **message) -> bytes:
    """A request with a key."""
    return check_request([("x-api-key", key)], **message).SerializeToString()


def is_unavailable(answer: CheckResponse) -> bool:
    """Is this the answer for a failure of ours?"""
    return (
        answer.status.code == 14
        and answer.error_response.status.code == 503
        and answer.dynamic_metadata["reason"] == "unavailable"
    )


async def test_a_hit_is_answered_at_once_and_a_miss_after_the_store(door):
    """The first request for a key waits for the store, the next gets bytes without any wait."""
    record, key = door.issue()
    made = door.check(carrying(key))
    assert not isinstance(made, bytes)
    waiting = asyncio.ensure_future(made)
    await asyncio.sleep(0)
    door.source.answer_all()
    for raw in (await waiting, door.check(carrying(key), b"00-0af7-b7ad-01")):
        assert isinstance(raw, bytes)
        answer = CheckResponse.FromString(raw)
        assert answer.status.code == 0
        assert answer.dynamic_metadata["key_id"] == record.kid
    assert door.source.loads[record.kid] == 1
    assert door.probe.decisions == [None, None]


async def test_what_needs_no_store_is_answered_at_once(door):
    """No key, and garbage, cost no wait."""
    for raw in (carrying(""), carrying("garbage"), b"\xff", carrying(OTHER[:-1] + "!")):
        assert isinstance(door.check(raw), bytes)
    assert not door.source.loads


async def test_a_key_that_the_store_does_not_know_is_invalid(door):
    """Ours by its tag, but issued by nobody."""
    answer = await door.answer(carrying(OTHER))
    assert answer.denied_response.status.code == 401
    assert door.probe.decisions == [Reason.UNKNOWN_KEY]


async def test_without_trust_and_without_the_store_the_answer_is_unavailable(door):
    """Not known is never unknown: an outage turns no good key into a 401."""
    record, key = door.issue()
    lost = asyncio.ensure_future(door.check(carrying(key)))
    await asyncio.sleep(0)
    door.source.answer(record.kid, Unavailable("gone"))
    assert is_unavailable(CheckResponse.FromString(await lost))
    door.cache.trust(0)
    assert is_unavailable(await door.answer(carrying(key)))
    assert door.probe.decisions == [Reason.UNAVAILABLE] * 2
    assert not door.probe.events[Event.DECISION_FAULT]


def fail(text: str):
    """A function that fails, quoting what it should not."""

    def failing(*_args, **_kwargs):
        raise ValueError(f"cannot handle {text}")

    return failing


PARTS = ["_read", "_decide", "_write", "probe.decided", "probe.count"]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("is_hit", [True, False], ids=["hit", "miss"])
async def test_a_failure_inside_is_unavailable(door, part, is_hit, caplog):
    """If any part breaks, the answer is an error, and the log does not quote the request."""
    _, key = door.issue()
    if is_hit:
        await door.answer(carrying(key))
    if part.startswith("probe."):
        setattr(door.probe, part.removeprefix("probe."), fail(key))
        door.checker._decided = door.probe.decided  # it is bound when the checker is made
    else:  # a part that the handler has bound
        setattr(door.real, part, fail(key))
    if part == "probe.count":
        door.real._decide = fail(key)
    answer = await door.answer(carrying(key))
    assert is_unavailable(answer)
    assert key not in caplog.text
    if part != "probe.count":
        assert door.probe.events[Event.DECISION_FAULT] == 1
        assert "ValueError" in caplog.text
        assert "test_handler.py" in caplog.text


async def test_failures_are_logged_ever_more_rarely(door, caplog):
    """The 1st, 2nd, 4th, 8th: who can cause it does not flood the log."""
    door.real._decide = fail("x")
    with caplog.at_level(logging.ERROR):
        for _ in range(100):
            assert is_unavailable(await door.answer(carrying("")))
    assert len(caplog.records) == 7
    assert door.probe.events[Event.DECISION_FAULT] == 100


async def test_a_cancelled_call_ends_and_cancels_nobody_else(door):
    """The proxy gave up on one request: another that waits for the same key gets its answer."""
    record, key = door.issue()
    gone, here = (asyncio.ensure_future(door.check(carrying(key))) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    door.source.answer_all()
    assert CheckResponse.FromString(await here).status.code == 0
    assert door.source.loads[record.kid] == 1
    assert not door.probe.events[Event.DECISION_FAULT]


async def test_an_address_that_is_none_is_not_remembered(door):
    """Where a header gives the address a client may write 59 KiB: that fills no memory."""
    _, key = door.issue(allowed_cidrs=(ipaddress.ip_network("203.0.113.0/24"),))
    assert (await door.answer(carrying(key))).status.code == 0
    before = addresses.parse_short_address.cache_info().currsize
    for number in range(10):
        long = f"203.0.113.7{'x' * 59_000}{number}"
        answer = await door.answer(carrying(key, peer=long))
        assert answer.dynamic_metadata["reason"] == "address_not_allowed"
    assert addresses.parse_short_address.cache_info().currsize == before


class Recording:
    """A CheckObserver of every Check, with a line for each refusal or for none."""

    stride = 0

    def __init__(self, has_lines: bool) -> None:
        self.has_lines, self.asked, self.seen = has_lines, [], []

    def take_line(self, decision: Deny) -> bool:
        """Implement CheckObserver.take_line."""
        self.asked.append(decision.reason)
        return self.has_lines

    def observe(self, decision, _request, _traceparent, began, *, ids=None, waited=False):
        """Implement CheckObserver.observe."""
        assert began is not None
        self.seen.append((decision.reason, ids and ids.request_id, waited))


@pytest.mark.parametrize("has_lines", [True, False])
async def test_each_refusal_is_observed_once_with_the_id_that_its_caller_was_told(door, has_lines):
    """One that waited for the store, and one that did not; with an id of the proxy and without."""
    observer = Recording(has_lines)
    door.real = CheckHandler(door.extractor, door.checker, door.responder, door.probe, observer)
    door.check = door.real.check

    await door.answer(check_request([("x-api-key", OTHER), ("x-request-id", "id-1")]))
    told = await door.answer(check_request([("x-request-id", "not harmless")]))

    charge_id = told.dynamic_metadata["charge_id"]
    assert json.loads(told.denied_response.body)["request_id"] == charge_id
    assert observer.asked == [Reason.UNKNOWN_KEY, Reason.MISSING_CREDENTIAL]
    assert observer.seen == [
        (Reason.UNKNOWN_KEY, "id-1" if has_lines else None, True),
        (Reason.MISSING_CREDENTIAL, charge_id if has_lines else None, False),
    ]
