"""Narrowing changes: they only take rights away, and all that take a key out of use are found."""

import inspect
import re
from dataclasses import dataclass, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core import changes, narrowing, new_keys, policy, secret_changes
from authz.core.changes import Author
from authz.core.fields import networks
from authz.core.limits.limit import OnOutage, parse_limits
from authz.core.limits.throttle import Throttle
from authz.core.narrowing import narrows
from authz.core.new_keys import KeySpec
from authz.core.records import KeyRecord, RevocationReason, Secret, Status
from authz.core.request import Route
from tests.support.fakes import NOW, make_keyring, make_record, make_request

DIGESTS = (b"a" * 32, b"b" * 32, b"")
TIMES = st.none() | st.integers(NOW - 2, NOW + 2)
SECRETS = st.lists(
    st.builds(lambda digest, end: (digest, end), st.sampled_from(DIGESTS), TIMES),
    min_size=1,
    max_size=2,
).map(lambda found: tuple(Secret(str(i), d, "1", NOW, end) for i, (d, end) in enumerate(found)))
SCOPES = st.frozensets(st.sampled_from(["a:b", "a:c", "a:*", "a:b:*", "b", "*"]), max_size=3)
BLOCKS = st.lists(
    st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "192.0.2.1/32"]), max_size=2, unique=True
).map(lambda found: networks("cidrs", found))
NAMES = st.lists(st.sampled_from(["a.example.com", "*.example.com"]), max_size=2, unique=True).map(
    tuple
)
CHANGED = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(Status),
        "env": st.sampled_from(["live", "test"]),
        "scopes": SCOPES,
        "secrets": SECRETS,
        "not_before": TIMES,
        "throttle": st.none()
        | st.builds(Throttle, st.integers(25, 27), st.integers(NOW - 2, NOW + 2)),
        "expires_at": TIMES,
        "allowed_cidrs": BLOCKS,
        "allowed_hosts": NAMES,
        "allowed_origins": NAMES.map(lambda found: tuple(f"https://{name}" for name in found)),
    },
)
REQUESTS = st.builds(
    lambda address, host, origin, scopes, env: make_request(
        headers={"origin": origin},
        client_address=address,
        host=host,
        route=Route(scopes=frozenset(scopes), env=env),
    ),
    st.sampled_from(["10.1.2.3", "10.2.0.1", "192.0.2.1", ""]),
    st.sampled_from(["a.example.com", "b.example.com", "other"]),
    st.sampled_from(["https://a.example.com", "https://b.example.com", ""]),
    st.lists(st.sampled_from(["a:b", "a:c", "a:b:d", "b"]), max_size=2),
    st.sampled_from([None, "live", "test"]),
)


@dataclass
class Proof:
    """A presented key with this digest."""

    value: bytes

    def digest(self):
        """Implement Proof.digest."""
        return self.value


@given(CHANGED, CHANGED, REQUESTS, st.sampled_from(DIGESTS[:2]))
def test_a_narrowing_change_allows_nothing_new(first, second, request, digest):
    """A request that is allowed after a narrowing change was allowed before it."""
    before = make_record(**first)
    after = replace(before, **second)
    if narrows(before, after):
        proof = Proof(digest)
        if policy.judge(after, proof, request, NOW) is None:
            assert policy.judge(before, proof, request, NOW) is None


RECORD = make_record(
    scopes=frozenset({"a:*", "b"}),
    expires_at=NOW + 1000,
    outage_grace=500,
    limits=parse_limits("limits", ["10/s", "100/h,burst=20", "5/calendar-day,enforce=false"]),
)


def limits(*texts):
    """Return parsed limits."""
    return {"limits": parse_limits("limits", texts)}


@pytest.mark.parametrize(
    "changed",
    [
        {"status": Status.DISABLED},
        {"status": Status.REVOKED, "revoked_at": NOW},
        {"scopes": frozenset()},
        {"scopes": frozenset({"a:b", "a:c:*"})},
        {"expires_at": NOW},
        {"not_before": NOW},
        {"outage_grace": 0},
        {"allowed_hosts": ("a.example.com",)},
        limits("9/s", "100/h,burst=20", "5/calendar-day,enforce=false"),
        limits("10/s", "100/h,burst=19", "5/calendar-day"),
        {"secrets": (replace(make_record().secrets[0], retires_at=NOW),)},
    ],
)
def test_a_narrowing_change(changed):
    """Each of these changes only takes rights away."""
    assert narrows(RECORD, replace(RECORD, **changed))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (("10/s", "500/once"), ("10/s", "499/once"), True),
        (("10/s", "500/once"), ("10/s", "501/once"), False),
        (("10/s", "500/once"), ("10/s",), False),
        (("10/s",), ("10/s", "500/once"), True),
        ((), ("500/once",), True),
        (("10/s",), ("500/once", "10/s"), False),
        (("500/once",), ("500/year",), False),
        (("500/once",), ("500/once,enforce=false",), False),
    ],
)
def test_credits(before, after, expected):
    """A cut of credits narrows, and so does a first limit. A refill or a removal does not."""
    record = make_record(**limits(*before))
    assert narrows(record, replace(record, **limits(*after))) is expected


def test_a_limit_beside_a_plan():
    """A limit that is added to a key with a plan may replace a lower one of the plan."""
    record = make_record(plan="pro", **limits("10/s"))
    assert not narrows(record, replace(record, **limits("10/s", "5/h")))
    assert narrows(record, replace(record, **limits("9/s")))


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"scopes": frozenset({"*"})},
        {"expires_at": None},
        {"outage_grace": None},
        {"name": "x" * 1000},
        {"metadata": {"a": "b"}},
        {"client_id": "other"},
        {"plan": "pro"},
        {"on_outage": OnOutage.ALLOW},
        limits("10/s"),
        limits("10/s", "100/h", "5/calendar-day,enforce=false"),
        limits("10/s", "100/h,burst=21", "5/calendar-day,enforce=false"),
        limits("11/s", "100/h,burst=20", "5/calendar-day,enforce=false"),
        {"secrets": (*make_record().secrets, Secret("2", b"n" * 32, "1", NOW))},
    ],
)
def test_another_change(changed):
    """Each of these changes may give a right, adds data, or changes nothing."""
    assert not narrows(RECORD, replace(RECORD, **changed))


def test_changes_say_whether_they_narrow():
    """Revoking, disabling and shrinking narrow; issuing, enabling and rotating do not."""
    author, active = Author("c", "ops"), make_record(scopes=frozenset({"a:b", "b"}))
    disabled = replace(active, status=Status.DISABLED)
    minted = make_keyring().mint("live")
    narrowing = [
        changes.revoke(active, RevocationReason.KEY_COMPROMISE, author, NOW),
        changes.revoke(disabled, RevocationReason.KEY_COMPROMISE, author, NOW),
        changes.disable(active, author, NOW),
        changes.update(active, {}, author, NOW, remove_scopes=frozenset({"b"})),
    ]
    spec = KeySpec(client_id="acme-web", env="live", life_ms=None)
    others = [
        new_keys.issue(spec, minted, author, NOW),
        changes.enable(disabled, author, NOW),
        secret_changes.rotate(active, minted, 0, author, NOW),
        changes.reset_limits(active, author, NOW),
    ]
    assert [change.narrows for change in (*narrowing, *others)] == [True] * 4 + [False] * 4


def test_every_field_of_a_record_is_judged():
    """A field that `narrows` does not look at would let any change of it apply on a full store."""
    source = inspect.getsource(narrowing)
    judged = {*narrowing._IDENTITY, *re.findall(r"after\.(\w+)", source)}

    bookkeeping = {"version", "turns", "blocks", "revoked_at", "revocation_reason"}
    assert {field.name for field in fields(KeyRecord)} - judged == bookkeeping
