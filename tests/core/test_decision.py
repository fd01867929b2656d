"""Decisions are values."""

import pytest

from authz.core.decision import Allow, Deny, Reason
from authz.core.errors import BadInput, Conflict, Fault, NotFound, OutcomeUnknown, Unavailable
from tests.support.fakes import make_record


def test_reasons_are_named_after_their_words():
    """Logs and metrics use the lower-case name, so neither changes without the other."""
    assert all(reason.value == reason.name.lower() for reason in Reason)


def test_a_decision_cannot_be_altered():
    """A shared refusal stays what it is."""
    for decision, name in ((Allow(None), "key"), (Deny(Reason.MALFORMED), "reason")):
        with pytest.raises(AttributeError):
            setattr(decision, name, None)


def test_decisions_compare_by_value():
    """An allow of a key is not an anonymous one, a refusal not another."""
    record = make_record()

    assert Allow(record) == Allow(make_record())
    assert Allow(record) != Allow(None)
    assert Deny(Reason.REVOKED) != Deny(Reason.DISABLED)
    assert Allow(None) != Deny(Reason.MALFORMED)
    assert Deny(Reason.MALFORMED).key is None


def test_faults_that_leave_the_outcome_open_are_unavailable():
    """A lost reply is a kind of Unavailable; a conflict and bad input are not."""
    assert issubclass(OutcomeUnknown, Unavailable)
    for fault in (Conflict, NotFound, BadInput):
        assert issubclass(fault, Fault)
        assert not issubclass(fault, Unavailable)


def test_bad_input_says_where_and_what():
    """The field and the problem, apart and together."""
    fault = BadInput("cidr", "not an address block")

    assert (fault.field, fault.problem) == ("cidr", "not an address block")
    assert str(fault) == "cidr: not an address block"
