"""The outcome of a request, for every way in which a response ended in a real Envoy."""

import pytest

from authz.core.usage.entry import parse_status
from authz.core.usage.outcome import Outcome


@pytest.mark.parametrize(
    ("code", "grpc", "flags", "expected"),
    [
        ("200", "-", "-", Outcome.OK),
        ("200", "0", "-", Outcome.OK),
        ("304", "-", "-", Outcome.OK),
        ("101", "-", "UC", Outcome.OK),  # a WebSocket that was closed in order
        ("101", "-", "DC", Outcome.OK),
        ("401", "-", "UAEX", Outcome.DENIED),
        ("200", "16", "UAEX", Outcome.DENIED),  # gRPC: the refusal is in the status
        ("200", "-", "DC", Outcome.ABORTED),  # a client left in the middle of a stream
        ("200", "-", "DR", Outcome.ABORTED),
        ("0", "-", "DC", Outcome.ABORTED),  # before the response
        ("0", "-", "-", Outcome.ABORTED),
        ("200", "-", "UPE", Outcome.SERVER_ERROR),  # the backend died in the body
        ("200", "0", "UC,URX", Outcome.SERVER_ERROR),
        ("503", "-", "UC", Outcome.SERVER_ERROR),
        ("500", "-", "-", Outcome.SERVER_ERROR),
        ("404", "-", "-", Outcome.CLIENT_ERROR),
        ("404", "-", "NR", Outcome.CLIENT_ERROR),
        ("429", "-", "RL", Outcome.CLIENT_ERROR),
        ("200", "8", "-", Outcome.CLIENT_ERROR),
        ("200", "5", "-", Outcome.CLIENT_ERROR),
        ("200", "14", "-", Outcome.SERVER_ERROR),
        ("200", "2", "-", Outcome.SERVER_ERROR),
    ],
)
def test_outcomes(code, grpc, flags, expected):
    """Code, gRPC status and flags decide together."""
    status = parse_status(code.encode(), grpc.encode(), flags.encode())
    assert status.outcome is expected


@pytest.mark.parametrize(
    "words", [(b"", b"-", b"-"), (b"2000", b"-", b"-"), (b"200", b"x", b"-"), (b"200", b"-", b"u")]
)
def test_a_status_that_is_not_in_order(words):
    """There is no outcome of words that Envoy does not write."""
    assert parse_status(*words) is None


@pytest.mark.parametrize(
    ("code", "grpc", "flags", "expected"),
    [
        ("200", "-", "-", False),
        ("400", "-", "-", True),
        ("429", "-", "-", True),
        ("500", "-", "-", True),
        ("503", "-", "UC", True),
        ("200", "3", "-", True),
        ("200", "13", "-", True),
        ("200", "0", "-", False),
        ("0", "-", "DC", False),
        ("504", "-", "UT", False),
        ("408", "-", "-", False),
        ("499", "-", "-", False),
        ("504", "-", "-", False),
        ("200", "1", "-", False),
        ("200", "4", "-", False),
    ],
)
def test_an_answer_that_cost_nothing(code, grpc, flags, expected):
    """An error cost nothing, but not one that says that the time was over or the client had left.

    The client can choose that: it asks for a long answer, or names a short deadline.
    """
    status = parse_status(*(word.encode() for word in (code, grpc, flags)))
    assert status.used_nothing is expected
