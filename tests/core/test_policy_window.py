"""judge_within: a decision that holds at every moment that the clocks may show, or UNAVAILABLE."""

from hypothesis import given
from hypothesis import strategies as st

from authz.core.decision import Deny, Reason
from authz.core.policy import judge, judge_within
from authz.core.records import RETIRED_DIGEST_KEPT_MS, Secret, Status
from authz.core.store_clock import Window
from tests.support.fakes import NOW, make_record, make_request

FIRST, SECOND = bytes(range(32)), bytes(range(1, 33))
OFFSETS = st.integers(-4, 4)


class Given:
    """A credential with this digest."""

    def __init__(self, digest):
        self._digest = digest

    def digest(self):
        """Implement Proof.digest."""
        return self._digest


@st.composite
def records(draw):
    """A key whose times lie near NOW: any of them, or none."""
    times = st.none() | OFFSETS.map(lambda offset: NOW + offset)
    retires = draw(times)
    if retires is not None and draw(st.booleans()):
        retires -= RETIRED_DIGEST_KEPT_MS
    begins, ends = draw(times), draw(times)
    if begins is not None and ends is not None and ends <= begins:
        begins = None
    return make_record(
        status=draw(st.sampled_from([Status.ACTIVE, Status.ACTIVE, Status.REVOKED])),
        not_before=begins,
        expires_at=ends,
        secrets=(Secret("1", FIRST, "1", NOW, retires), Secret("2", SECOND, "1", NOW)),
    )


@given(
    record=records(),
    digest=st.sampled_from([FIRST, SECOND, bytes(32)]),
    bounds=st.tuples(OFFSETS, OFFSETS),
)
def test_within_a_window(record, digest, bounds):
    """The reason is that of every moment of the window; if two moments differ, UNAVAILABLE."""
    low, high = sorted(bounds)
    request, proof = make_request(), Given(digest)
    judged = [judge(record, proof, request, NOW + at) for at in range(low, high + 1)]
    reasons = {found and found.reason for found in judged}

    refusal = judge_within(record, proof, request, Window(NOW + low, NOW + high))

    if len(reasons) == 1:
        assert (refusal and refusal.reason) == reasons.pop()
    else:
        assert refusal == Deny(Reason.UNAVAILABLE)


@given(record=records(), now=OFFSETS)
def test_a_record_without_turns(record, now):
    """A record without turns is judged the same at any time."""
    if not record.turns:
        assert judge(record, Given(FIRST), make_request(), NOW + now) == judge(
            record, Given(FIRST), make_request(), 0
        )
