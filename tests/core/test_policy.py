"""The checks one by one, and which of two refusals wins."""

from itertools import combinations

import pytest

from authz.core import fields, policy
from authz.core.decision import Deny, Reason
from authz.core.policy import CHECKS, judge
from authz.core.records import RETIRED_DIGEST_KEPT_MS, Secret, Status
from authz.core.request import Route
from tests.support.core.judging import KEYRING, MINTED, PRESENTED, SECRET, decide, reason
from tests.support.fakes import KID, NOW, issue_record, make_keyring, make_record, make_request


def test_a_good_key_is_not_refused():
    """A key without restrictions is allowed."""
    assert decide() is None


# the secret


def test_a_wrong_secret_learns_nothing():
    """Another secret of the same kid is refused, and the refusal does not carry the record."""
    other = KEYRING.parse(KEYRING.mint("live", KID).text)
    record = make_record(secrets=(SECRET,), status=Status.REVOKED)

    assert judge(record, other, make_request(), NOW) == Deny(Reason.WRONG_SECRET, None)


def test_who_has_the_secret_learns_which_key_it_is():
    """Every refusal after the right secret carries the record."""
    record, text = issue_record(KEYRING, status=Status.REVOKED)

    refusal = judge(record, KEYRING.parse(text), make_request(), NOW)

    assert refusal == Deny(Reason.REVOKED, record)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (-1, None),
        (0, Reason.SECRET_RETIRED),
        (RETIRED_DIGEST_KEPT_MS - 1, Reason.SECRET_RETIRED),
        (RETIRED_DIGEST_KEPT_MS, Reason.WRONG_SECRET),
    ],
)
def test_a_retired_secret(after, expected):
    """A retired secret is reported as retired for 30 days, and as wrong after that."""
    retired = Secret("1", MINTED.digest, "1", NOW - 5, retires_at=NOW)
    newer = Secret("2", bytes(32), "1", NOW - 5)

    assert reason({"secrets": (retired, newer)}, now=NOW + after) is expected


@pytest.mark.parametrize("entry", [Secret("1", b"", "1", NOW), Secret("1", b"", "1", NOW, NOW + 1)])
def test_a_forgotten_digest_opens_nothing(entry):
    """An entry without a digest matches no key, not even one whose pepper is unknown here."""
    stranger = make_keyring("ak", "2").parse(MINTED.text)
    record = make_record(secrets=(entry,))

    for presented in (PRESENTED, stranger):
        assert judge(record, presented, make_request(), NOW) == Deny(Reason.WRONG_SECRET)


@pytest.mark.parametrize("position", [0, 1, 4, None])
def test_every_digest_is_compared(position, monkeypatch):
    """Whichever digest matches, or none, the same number is compared."""
    compared = []
    monkeypatch.setattr(
        policy,
        "compare_digest",
        lambda *digests: compared.append(digests) or digests[0] == digests[1],
    )
    secrets = tuple(
        Secret(str(i), MINTED.digest if i == position else bytes([i]) * 32, "1", NOW)
        for i in range(5)
    )

    found = reason({"secrets": secrets})

    assert [stored for _, stored in compared] == [entry.digest for entry in secrets]
    assert found is (Reason.WRONG_SECRET if position is None else None)


# times and status


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (Status.ACTIVE, None),
        (Status.DISABLED, Reason.DISABLED),
        (Status.REVOKED, Reason.REVOKED),
    ],
)
def test_status(status, expected):
    """A key that is not active is refused with its status."""
    assert reason({"status": status}) is expected


def test_every_status_is_judged():
    """A status that somebody adds is refused until a check knows it."""
    refused = {each for each in Status if reason({"status": each})}

    assert refused == set(Status) - {Status.ACTIVE}


@pytest.mark.parametrize(
    ("after", "expected"), [(-1, None), (0, Reason.EXPIRED), (1, Reason.EXPIRED)]
)
def test_expiry_is_exact(after, expected):
    """The last millisecond before `expires_at` still works, the next does not."""
    assert reason({"expires_at": NOW}, now=NOW + after) is expected


@pytest.mark.parametrize(("after", "expected"), [(-1, Reason.NOT_YET_VALID), (0, None), (1, None)])
def test_not_before_is_exact(after, expected):
    """A key works from the millisecond of `not_before` on."""
    assert reason({"not_before": NOW}, now=NOW + after) is expected


def test_time_zero_is_a_time():
    """0 is a moment in 1970, not the absence of one."""
    assert reason({"expires_at": 0}) is Reason.EXPIRED
    assert reason({"not_before": 0}, now=-1) is Reason.NOT_YET_VALID


# the order

RETIRED = Secret("1", MINTED.digest, "1", NOW - 5, retires_at=NOW)
FAILINGS = [
    ({Reason.WRONG_SECRET}, {"secrets": (Secret("1", bytes(32), "1", NOW),)}, {}),
    ({Reason.SECRET_RETIRED}, {"secrets": (RETIRED,)}, {}),
    ({Reason.REVOKED}, {"status": Status.REVOKED}, {}),
    ({Reason.DISABLED}, {"status": Status.DISABLED}, {}),
    ({Reason.NOT_YET_VALID}, {"not_before": NOW + 1}, {}),
    ({Reason.EXPIRED}, {"expires_at": NOW}, {}),
    ({Reason.WRONG_ENVIRONMENT}, {"env": "test"}, {"env": "live"}),
    ({Reason.PUBLIC_KEY_NOT_ALLOWED}, {"public": True}, {}),
    ({Reason.ADDRESS_NOT_ALLOWED}, {"allowed_cidrs": fields.networks("", ["192.0.2.1"])}, {}),
    ({Reason.HOST_NOT_ALLOWED}, {"allowed_hosts": ("other.example.com",)}, {}),
    ({Reason.ORIGIN_NOT_ALLOWED}, {"allowed_origins": ("https://app.example.com",)}, {}),
    ({Reason.INSUFFICIENT_SCOPE}, {"scopes": frozenset({"a"})}, {"scopes": frozenset({"b"})}),
]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pair
        for pair in combinations(FAILINGS, 2)
        if not pair[0][1].keys() & pair[1][1].keys()  # a key has one status, one secret
    ],
    ids=lambda failing: next(iter(failing[0])).value,
)
def test_the_first_refusal_wins(first, second):
    """Of two checks that fail together, the one that stands earlier gives the reason."""
    request = {"route": Route(**first[2] | second[2])}

    assert {reason(first[1], {"route": Route(**first[2])})} == first[0]
    assert {reason(second[1], {"route": Route(**second[2])})} == second[0]
    assert {reason(first[1] | second[1], request)} == first[0]


def test_every_check_has_its_place_in_the_order():
    """Each check of the list is among those whose order is proven."""
    failing_checks = {
        check
        for check in CHECKS
        for _, record, route in FAILINGS
        if check(make_record(**record), make_request(route=Route(**route)), NOW)
    }

    assert failing_checks == set(CHECKS)
