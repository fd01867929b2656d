"""The checks one by one, and which of two refusals wins."""

from itertools import combinations

import pytest

from authz.core import fields, policy
from authz.core.decision import Deny, Reason
from authz.core.policy import CHECKS, judge
from authz.core.records import RETIRED_DIGEST_KEPT_MS, Secret, Status
from authz.core.request import Route
from tests.fakes import KID, NOW, issue_record, make_keyring, make_record, make_request

KEYRING = make_keyring()
MINTED = KEYRING.mint("live", KID)
PRESENTED = KEYRING.parse(MINTED.text)
SECRET = Secret("1", MINTED.digest, "1", NOW)


def decide(record=None, request=None, now=NOW):
    """Judge the right key against `record` with the overrides given."""
    record = make_record(**{"secrets": (SECRET,)} | (record or {}))
    return judge(record, PRESENTED, make_request(**request or {}), now)


def reason(record=None, request=None, now=NOW):
    """The reason for which `decide` refuses, or None."""
    refusal = decide(record, request, now)
    return refusal and refusal.reason


def test_a_good_key_is_not_refused():
    """No restriction, no refusal."""
    assert decide() is None


# the secret


def test_a_wrong_secret_learns_nothing():
    """Another secret of the same kid is refused, and the refusal does not carry the record."""
    other = KEYRING.parse(KEYRING.mint("live", KID).text)
    record = make_record(secrets=(SECRET,), status=Status.REVOKED)

    assert judge(record, other, make_request(), NOW) == Deny(Reason.WRONG_SECRET, None)


def test_who_has_the_secret_learns_which_key_it_is():
    """Every other refusal carries the record."""
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
    """It works until it retires, its holder is told so for 30 days, and then it is unknown."""
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
        policy, "matches", lambda *digests: compared.append(digests) or digests[0] == digests[1]
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
    """Only an active key opens anything."""
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


# where from, where to, what for


@pytest.mark.parametrize(
    ("key_env", "route_env", "expected"),
    [
        ("live", None, None),
        ("test", None, None),
        ("live", "live", None),
        ("test", "test", None),
        ("test", "live", Reason.WRONG_ENVIRONMENT),
        ("live", "test", Reason.WRONG_ENVIRONMENT),
    ],
)
def test_environment(key_env, route_env, expected):
    """A route that names an environment takes keys of that one only."""
    assert reason({"env": key_env}, {"route": Route(env=route_env)}) is expected


@pytest.mark.parametrize(
    ("cidr", "client", "inside"),
    [
        ("203.0.113.0/24", "203.0.113.7", True),
        ("203.0.113.0/24", "203.0.114.7", False),
        ("203.0.113.0/24", "::ffff:203.0.113.7", True),
        ("203.0.113.0/24", "::ffff:cb00:7107", True),
        ("::ffff:203.0.113.0/120", "203.0.113.7", True),
        ("::ffff:203.0.113.0/120", "::ffff:203.0.113.7", True),
        ("203.0.113.7", "203.0.113.7", True),
        ("203.0.113.7", "203.0.113.8", False),
        ("0.0.0.0/0", "203.0.113.7", True),
        ("0.0.0.0/0", "2001:db8::1", False),
        ("::/0", "2001:db8::1", True),
        ("::/0", "203.0.113.7", False),
        ("2001:db8::/32", "2001:db8:ffff::1", True),
        ("2001:db8::/32", "2001:DB8::1", True),
        ("2001:db8::/32", "2001:db9::1", False),
        ("203.0.113.0/24", "", False),
        ("203.0.113.0/24", "localhost", False),
        ("203.0.113.0/24", "203.0.113.7:443", False),
        ("203.0.113.0/24", "203.0.113.7, 10.0.0.1", False),
        ("203.0.113.0/24", "203.0.113.007", False),
        ("203.0.113.0/24", " 203.0.113.7", False),
        ("203.0.113.0/24", "\u0662\u0660\u0663.0.113.7", False),
        ("203.0.113.0/24", "3405803783", False),
        ("203.0.113.0/24", "/run/envoy.sock", False),
        ("203.0.113.0/24", "1." * 50_000, False),
        ("2001:db8::/32", ":" * 100_000, False),
    ],
)
def test_address(cidr, client, inside):
    """The client's address is known and inside a block; IPv4-mapped IPv6 is IPv4 on both sides."""
    record = {"allowed_cidrs": fields.networks("allowed_cidrs", ["192.0.2.1", cidr])}

    assert reason(record, {"client_address": client}) is (
        None if inside else Reason.ADDRESS_NOT_ALLOWED
    )


@pytest.mark.parametrize(
    ("pattern", "authority", "expected"),
    [
        ("api.example.com", "api.example.com", True),
        ("api.example.com", "API.EXAMPLE.COM", True),
        ("api.example.com", "api.example.com:8443", True),
        ("api.example.com", "api.example.com.", True),
        ("api.example.com", "api.example.com.:443", True),
        ("api.example.com", "example.com", False),
        ("api.example.com", "v2.api.example.com", False),
        ("api.example.com", "api.example.com.evil.org", False),
        ("api.example.com", "xapi.example.com", False),
        ("api.example.com", "", False),
        ("api.example.com", "api.example.com:http", False),
        ("api.example.com", "api.example.com..", False),
        ("api.example.com", "user@api.example.com", False),
        ("kube.example.com", "\u212aube.example.com", False),
        ("*.example.com", "api.example.com", True),
        ("*.example.com", "v2.api.example.com", True),
        ("*.example.com", "API.example.com:443", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", ".example.com", False),
        ("*.example.com", "a..example.com", False),
        ("*.example.com", "evilexample.com", False),
        ("*.example.com", "api.example.com.evil.org", False),
        ("*.example.com", "api.example.org", False),
        ("*.example.com", "evil.org/.example.com", False),
        ("*.example.com", "evil.org?.example.com", False),
        ("*.example.com", "evil.org:80@x.example.com", False),
        ("*.example.com", "a b.example.com", False),
        ("*.example.com", "\u00e9.example.com", False),
        ("192.0.2.1", "192.0.2.1:80", True),
        ("*.example.com", "[2001:db8::1]:443", False),
        ("*.example.com", "[::1].example.com", False),
        ("*.example.com", "a." * 50_000 + "example.org", False),
    ],
)
def test_host(pattern, authority, expected):
    """The host without port and final dot is a pattern, or something before `.suffix` of one."""
    record = {"allowed_hosts": fields.hosts("allowed_hosts", ["other.example.net", pattern])}

    assert reason(record, {"host": authority}) is (None if expected else Reason.HOST_NOT_ALLOWED)


@pytest.mark.parametrize(
    ("pattern", "origin", "expected"),
    [
        ("https://app.example.com", "https://app.example.com", True),
        ("https://app.example.com", "HTTPS://APP.example.com", True),
        ("app.example.com", "https://app.example.com", True),
        ("https://app.example.com:443", "https://app.example.com", True),
        ("https://app.example.com", "http://app.example.com", False),
        ("https://app.example.com", "https://app.example.com:8443", False),
        ("https://app.example.com:8443", "https://app.example.com:8443", True),
        ("https://app.example.com:8443", "https://app.example.com", False),
        ("https://app.example.com", "https://app.example.com/", False),
        ("https://app.example.com", "https://app.example.com.evil.org", False),
        ("https://app.example.com", "https://user@app.example.com", False),
        ("https://app.example.com", "app.example.com", False),
        ("https://app.example.com", "null", False),
        ("https://app.example.com", "", False),
        ("https://kube.example.com", "https://\u212aube.example.com", False),
        ("https://app.example.com", "https://app.example.com,https://evil.org", False),
        ("https://*.example.com", "https://app.example.com", True),
        ("https://*.example.com", "https://v2.app.example.com", True),
        ("https://*.example.com", "https://example.com", False),
        ("https://*.example.com", "https://.example.com", False),
        ("https://*.example.com", "https://evilexample.com", False),
        ("https://*.example.com", "http://app.example.com", False),
        ("https://*.example.com", "https://app.example.com:8443", False),
        ("https://*.example.com:8443", "https://app.example.com:8443", True),
        ("https://*.example.com", "https://evil.org/.example.com", False),
        ("https://*.example.com", "https://evil.org?.example.com", False),
        ("https://*.example.com", "https://evil.org#.example.com", False),
        ("https://*.example.com", "https://evil.org\\.example.com", False),
        ("https://*.example.com", "https://evil.org .example.com", False),
        ("https://*.example.com", "https://evil.org\t.example.com", False),
        ("https://*.example.com", "https://evil.org:80.example.com", False),
        ("https://*.example.com", "https://user@x.example.com", False),
        ("https://*.example.com", "https://evil.org, https://x.example.com", False),
        ("https://*.example.com", "https://\u00e9.example.com", False),
        ("https://*.example.com", "https://" + "a." * 50_000 + "org", False),
    ],
)
def test_origin(pattern, origin, expected):
    """The Origin header is a pattern, or has a host that ends in the `.suffix` of one."""
    record = {"allowed_origins": fields.origins("allowed_origins", ["https://a.net", pattern])}
    request = {"headers": {"origin": origin}}

    assert reason(record, request) is (None if expected else Reason.ORIGIN_NOT_ALLOWED)


def test_no_origin_is_not_an_allowed_one():
    """A key bound to origins needs the header."""
    assert reason({"allowed_origins": ("https://a.net",)}) is Reason.ORIGIN_NOT_ALLOWED


@pytest.mark.parametrize(
    ("held", "required", "expected"),
    [
        ("", "", True),
        ("a", "", True),
        ("a", "a", True),
        ("a b", "a b", True),
        ("a", "a b", False),
        ("", "a", False),
        ("*", "a b:c d:e:f", True),
        ("models:*", "models:generate", True),
        ("models:*", "models:generate:fast", True),
        ("models:*", "models:generate models:list", True),
        ("models:*", "models", False),
        ("models:*", "modelsx:generate", False),
        ("models:*", "models:generate other:read", False),
        ("models:generate", "models:*", False),
        ("models:generate", "*", False),
        ("models:*", "models:*", True),
        ("a:b:*", "a:b:c", True),
        ("a:b:*", "a:b:c:d", True),
        ("a:b:*", "a:c", False),
        ("a:b:*", "a:b", False),
        ("a:*", "a:b:*", True),
        ("a:b", "a", False),
        ("a", "a:b", False),
        ("A", "a", False),
        ("a:*", "a:" + "b:" * 100 + "c", True),
        ("x:*", "a:" + "b:" * 100 + "c", False),
    ],
)
def test_scope(held, required, expected):
    """Each scope that a route asks for is held itself, as an open end before it, or as `*`."""
    record = {"scopes": frozenset(held.split())}
    request = {"route": Route(scopes=frozenset(required.split()))}

    assert reason(record, request) is (None if expected else Reason.INSUFFICIENT_SCOPE)


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
