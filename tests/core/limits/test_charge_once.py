"""Names of requests: by which a retry is told from another request."""

import re

import pytest

from authz.core.limits.amounts import Amounts
from authz.core.limits.charge_once import MAX_VALUE, RETRY_MS, charged_once
from authz.core.request import ChargeOnce, Route
from tests.support.fakes import KID, make_request

RULE = ChargeOnce(("idempotency-key", "x-request-id"), 3_600_000)


def name_of(headers, kid=KID, rule=RULE, **request):
    """The name of a request with these headers."""
    return charged_once(
        kid, make_request(headers=headers, route=Route(charge_once=rule), **request)
    )


def test_a_retry_has_the_same_name():
    """The same key, target and header give the same name, and no text of the client is in it."""
    found = name_of({"idempotency-key": "order 17"})
    assert found == name_of({"idempotency-key": "order 17"})
    assert re.fullmatch("[A-Za-z0-9_-]{22}", found.id)
    assert found.within_ms == RULE.within_ms


@pytest.mark.parametrize(
    "other",
    [
        {"headers": {"idempotency-key": "order 18"}},
        {"headers": {"x-request-id": "order 17"}},
        {"kid": "o" * 16},
        {"method": "POST"},
        {"path": "/v1/others"},
        {"host": "other.example.com"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_another_request_has_another_name(other):
    """A name belongs to one key, header, method, host and path."""
    usual = {"headers": {"idempotency-key": "order 17"}}
    assert name_of(**usual | other).id != name_of(**usual).id


def test_a_dear_request_is_no_retry_of_a_cheap_one():
    """Envoy may give a path another cost by a header of the client, in its context_extensions."""

    def costing(cost):
        request = make_request(
            headers={"idempotency-key": "a"}, route=Route(charge_once=RULE, cost=cost)
        )
        return charged_once(KID, request)

    assert costing(1) == costing(1)
    assert costing(1) != costing(100)
    # What attempts take from budgets may differ, and the dearest one counts.
    assert costing(Amounts(1, 10, 10)) == costing(Amounts(1, 900, 900))


def test_the_query_and_the_case_of_the_host_do_not_matter():
    """A retry may sign its query anew."""
    headers = {"idempotency-key": "a"}
    one = name_of(headers, path="/a?t=1", host="A.example.com")
    assert one == name_of(headers, path="/a?t=2", host="a.example.com")


@pytest.mark.parametrize("value", ["", "x" * (MAX_VALUE + 1)], ids=["empty", "too long"])
def test_a_value_that_is_no_name(value):
    """A request with such a value is charged as any other."""
    assert name_of({"idempotency-key": value, "x-request-id": "a"}) is None


def test_a_request_without_a_name():
    """Without one of the headers, or on a route that charges each request, there is no name."""
    assert name_of({}) is None
    assert name_of({"idempotency-key": "a"}, rule=None) is None


def test_the_first_header_that_is_there_counts():
    """A name by the proxy lasts for RETRY_MS (10 s), one by the client as the route says."""
    both = {"idempotency-key": "a", "x-request-id": "b"}
    assert name_of(both) == name_of({"idempotency-key": "a"})
    assert name_of({"x-request-id": "b"}).within_ms == RETRY_MS


def test_any_bytes_of_a_client():
    """Bytes that are no text give a name, too."""
    request = make_request(route=Route(charge_once=RULE))
    request.headers = {"idempotency-key": b"\xff\x00"}
    assert charged_once(KID, request) is not None
