"""Budgets of bytes: what a request takes, and its settlement by the bytes that were sent."""

import pytest

from authz.core.budgets.spending import Spending
from authz.core.errors import BadInput
from authz.core.limits.amounts import Amounts
from authz.core.limits.limit import parse_limit
from authz.core.limits.reserved import parse_reserved, reserved_text
from authz.core.usage.commit import Budget, Settlement
from authz.core.usage.counts import Field
from tests.core.usage.test_token_use import COUNTER, ENDS, TAKEN, entry, own, row
from tests.support.usage import committed

BYTES_COUNTER = "bytes_out-month month bytes_out UTC"
BYTES = f"k!50000!{ENDS}!bytes_out-month~month~bytes_out~UTC"
LIMIT = parse_limit("limit", "5000000/month,of=bytes_out")


def bytes_budget():
    """The budget of bytes of the key."""
    return Budget(own().group, ENDS, BYTES_COUNTER)


@pytest.mark.parametrize(
    ("cost", "taken"),
    [(0, 0), (1, 1), (7, 1), (Amounts(0), 1), (Amounts(1, 800, 5, 50_000), 50_000)],
)
def test_each_request_takes_something(cost, taken):
    """A route without an estimate takes 1 byte; a free one takes nothing."""
    assert LIMIT.charge(cost) == taken


def test_the_text_of_a_limit_of_bytes():
    """The name of such a limit has its unit in front."""
    assert (LIMIT.name, str(LIMIT)) == ("bytes_out-month", "5000000/month,of=bytes_out")
    for text in ("5/s,of=bytes_out", "5.5/month,of=bytes_out", "5/month,of=bytes"):
        with pytest.raises(BadInput):
            parse_limit("limit", text)


def test_a_route_with_bytes_alone():
    """Such a route needs no prices, and its records have no terms."""
    priced = Spending(0, bytes_out=50_000).priced("", None)
    assert priced is not None
    assert (priced.amounts, priced.model, priced.terms) == (Amounts(1, 0, 0, 50_000), "", "")


def test_what_was_taken_is_written_and_read():
    """The usage record names budgets of bytes as others."""
    assert reserved_text(parse_reserved(BYTES)[0]) == BYTES


@pytest.mark.parametrize(
    "fields",
    [{}, {"code": "500"}, {"code": "0", "flags": "DC"}, {"code": "504", "flags": "UT"}],
)
def test_the_bytes_that_were_sent_count(fields):
    """A budget of bytes counts them whatever the answer was, and no request is estimated."""
    commit = committed(entry(sent="4096", settle="-", model="-", reserved=BYTES, **fields))
    assert commit.settlements == {bytes_budget(): Settlement(4096, 50_000)}
    assert commit.estimated == 0
    assert row(commit)[Field.ESTIMATED] == 0


def test_bytes_beside_tokens():
    """Each budget of a request gets its own unit."""
    commit = committed(
        entry("complete:100:50:0:0:0", f"{TAKEN};{BYTES}", sent="10"),
        entry("-", f"{TAKEN};{BYTES}", sent="20"),
    )
    assert commit.settlements[bytes_budget()] == Settlement(30, 100_000)
    assert commit.settlements[own()] == Settlement(150 + 800, 1600)
    assert own().counter == COUNTER


def test_a_request_without_bytes():
    """An answer without a body gives the whole estimate back."""
    commit = committed(entry(sent="0", settle="-", model="-", reserved=BYTES))
    assert commit.settlements[bytes_budget()] == Settlement(0, 50_000)
