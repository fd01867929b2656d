"""A value of a wrong type inside, which only a bug can make, is never an allow and ends no loop.

Compiled modules check types where values enter them, pure Python where it uses them. Both answers
must be the same refusal.
"""

import pytest

from authz.core.decision import Allow
from authz.core.events import Event
from tests.support.rpc.door import Door
from tests.support.rpc.messages import check_request


class Unlike:
    """An object of no type that any part knows."""


WRONG = [
    ("real", "_read", lambda _raw: Unlike()),
    ("real", "_decide", lambda _request: None),
    ("real", "_decide", lambda _request: Unlike()),
    ("real", "_decide", lambda _request: Allow(Unlike())),
    ("checker", "_peek", lambda _kid: Unlike()),
    ("checker", "_spend", lambda *_asked: Unlike()),
]


@pytest.mark.parametrize("is_hit", [True, False], ids=["hit", "miss"])
@pytest.mark.parametrize(
    ("owner", "part", "wrong"), WRONG, ids=[f"{part}-{at}" for at, (_, part, _) in enumerate(WRONG)]
)
async def test_a_part_that_returns_a_wrong_type_makes_the_check_unavailable(
    owner, part, wrong, is_hit
):
    """The fault is counted, and the next Check is decided as ever."""
    door = Door()
    _, key = door.issue()
    message = check_request([("x-api-key", key)])
    if is_hit:
        await door.answer(message)
    right = getattr(getattr(door, owner), part)
    setattr(getattr(door, owner), part, wrong)
    answer = await door.answer(message)
    assert (answer.status.code, answer.dynamic_metadata["reason"]) == (14, "unavailable")
    assert door.probe.events[Event.DECISION_FAULT] == 1
    setattr(getattr(door, owner), part, right)
    assert (await door.answer(message)).status.code == 0


async def test_a_source_that_delivers_no_record_makes_the_check_unavailable():
    """Nothing is raised into the source, whose connection others use; the kid can be loaded."""
    door = Door()
    record, key = door.issue()
    door.source.records[record.kid] = Unlike()
    message = check_request([("x-api-key", key)])
    answer = await door.answer(message)
    assert (answer.status.code, answer.dynamic_metadata["reason"]) == (14, "unavailable")
    door.source.records[record.kid] = record
    assert (await door.answer(message)).status.code == 0
