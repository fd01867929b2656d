"""`judge` against a model of it: plain values in, one word out, and nothing in common with it."""

import socket
from dataclasses import dataclass

from hypothesis import event, given, settings
from hypothesis import strategies as st

from authz.core import fields
from authz.core.policy import judge
from authz.core.records import Secret, Status
from authz.core.request import Route
from tests.support.fakes import KID, make_keyring, make_record, make_request

KEYRING = make_keyring()
KEYS = [KEYRING.mint("live", KID) for _ in range(3)]
MONTH = 30 * 24 * 3600 * 1000

# Few values, so that matches and near misses are both common.
TIMES = st.sampled_from([0, 1, 9, 10, 11, 20, MONTH, MONTH + 10, MONTH + 11])
SELDOM_TIME = st.one_of(*[st.none()] * 4, TIMES)
ENVS = st.sampled_from(["live", "test"])
CIDRS = ["10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32", "::ffff:10.1.0.0/112", "10.1.2.3"]
ADDRESSES = ["10.0.0.1", "10.1.2.3", "::ffff:10.1.2.3", "11.0.0.1", "2001:db8::1", "", "x"]
HOSTS = ["a.com", "x.a.com", "*.a.com", "*.x.a.com"]
AUTHORITIES = ["a.com", "A.COM:80", "x.a.com.", "y.x.a.com", "xa.com", ".a.com", "", "a.com:x"]
ORIGINS = ["https://a.com", "http://a.com", "https://*.a.com", "https://*.a.com:8443"]
ORIGIN_HEADERS = ["", "null", "https://a.com", "http://a.com", "https://X.a.com:8443"]
ORIGIN_HEADERS += ["https://x.a.com", "https://e.org/.a.com", "https://xa.com"]
SCOPES = ["a", "a:b", "a:b:c", "b", "*", "a:*", "a:b:*"]


@dataclass
class Case:
    """One request and one record, in plain values."""

    now: int
    presented: int  # index of the key
    secrets: list[tuple[int | None, int | None]]  # index of the key or forgotten, retires_at
    status: str
    not_before: int | None
    expires_at: int | None
    key_env: str
    route_env: str | None
    public: bool
    route_public: bool
    cidrs: list[str]
    address: str
    hosts: list[str]
    authority: str
    origins: list[str]
    origin: str
    held: list[str]
    required: list[str]


def few(values):
    """None of `values` most of the time, so that later checks are reached."""
    return st.one_of(st.just([]), st.lists(st.sampled_from(values), max_size=3, unique=True))


CASES = st.builds(
    Case,
    now=TIMES,
    presented=st.sampled_from([0, 0, 0, 1]),
    secrets=st.lists(
        st.tuples(st.sampled_from([0, 0, 0, 0, 1, 2, None]), SELDOM_TIME), min_size=1, max_size=3
    ),
    status=st.sampled_from(["active"] * 4 + ["disabled", "revoked"]),
    not_before=SELDOM_TIME,
    expires_at=SELDOM_TIME,
    key_env=ENVS,
    route_env=st.one_of(st.none(), ENVS),
    public=st.booleans(),
    route_public=st.sampled_from([True, True, False]),
    cidrs=few(CIDRS),
    address=st.sampled_from(ADDRESSES),
    hosts=few(HOSTS),
    authority=st.sampled_from(AUTHORITIES),
    origins=few(ORIGINS),
    origin=st.sampled_from(ORIGIN_HEADERS),
    held=st.lists(st.sampled_from(SCOPES), max_size=3),
    required=st.lists(st.sampled_from(["a", "a:b", "a:b:c", "b"]), max_size=2),
)


def expected(case: Case) -> str | None:
    """Return the reason that a plain reading of the rules gives."""
    entries = [retires for index, retires in case.secrets if index == case.presented]
    if not entries or (entries[-1] is not None and case.now - entries[-1] >= MONTH):
        return "wrong_secret"
    if entries[-1] is not None and entries[-1] <= case.now:
        return "secret_retired"
    failing = {
        "revoked": case.status == "revoked",
        "disabled": case.status == "disabled",
        "not_yet_valid": case.not_before is not None and case.not_before > case.now,
        "expired": case.expires_at is not None and case.expires_at <= case.now,
        "wrong_environment": case.route_env not in (None, case.key_env),
        "public_key_not_allowed": case.public and not case.route_public,
        "address_not_allowed": bool(case.cidrs) and not address_inside(case.address, case.cidrs),
        "host_not_allowed": bool(case.hosts) and not host_among(case.authority, case.hosts),
        "origin_not_allowed": not origin_is_fine(case),
        "insufficient_scope": not all(is_granted(scope, case.held) for scope in case.required),
    }
    return next((name for name, fails in failing.items() if fails), None)


def origin_is_fine(case: Case) -> bool:
    """Without origins any is fine, unless the key is publishable."""
    if not case.origins:
        return not case.public
    return origin_among(case.origin, case.origins)


def bits(address: str) -> str | None:
    """128 bits as text, IPv4 as its mapped form; None when it is no address."""
    for family, text in [(socket.AF_INET6, address), (socket.AF_INET6, f"::ffff:{address}")]:
        try:
            packed = socket.inet_pton(family, text)
        except OSError:
            continue
        return "".join(f"{byte:08b}" for byte in packed)
    return None


def address_inside(address: str, cidrs: list[str]) -> bool:
    """Return whether the leading bits agree with those of a block."""
    client = bits(address)
    for cidr in cidrs:
        base, _, length = cidr.partition("/")
        length = int(length or 32) + (0 if ":" in base else 96)
        if client is not None and client[:length] == bits(base)[:length]:
            return True
    return False


def host_among(authority: str, patterns: list[str]) -> bool:
    """Compare label by label from the right."""
    name, _, port = authority.lower().partition(":")
    if authority.count(":") and not port.isdigit():
        return False
    return any(labels_fit(name.rstrip("."), pattern) for pattern in patterns)


def labels_fit(name: str, pattern: str) -> bool:
    """A star takes one label or more."""
    labels, wanted = name.split("."), pattern.split(".")
    if wanted[0] != "*":
        return labels == wanted
    rest = len(wanted) - 1
    return len(labels) > rest and labels[-rest:] == wanted[1:] and all(labels)


def origin_among(origin: str, patterns: list[str]) -> bool:
    """Scheme, port and host apart."""
    for pattern in patterns:
        scheme, host, port = split_origin(origin.lower())
        wanted_scheme, wanted_host, wanted_port = split_origin(pattern)
        if (
            (scheme, port) == (wanted_scheme, wanted_port)
            and "/" not in host
            and labels_fit(host, wanted_host)
        ):
            return True
    return False


def split_origin(origin: str) -> tuple[str, str, str]:
    """Scheme, host, port."""
    scheme, _, rest = origin.partition("://")
    host, _, port = rest.partition(":")
    return scheme, host, port


def is_granted(scope: str, held: list[str]) -> bool:
    """Held itself, or by an open end."""
    return any(
        grant in ("*", scope) or (grant.endswith(":*") and scope.startswith(grant[:-1]))
        for grant in held
    )


@settings(max_examples=1500)
@given(CASES)
def test_judge_is_its_model(case):
    """For any record, request and time, the product and the model give the same reason."""
    record = make_record(
        secrets=tuple(
            Secret(str(i), b"" if index is None else KEYS[index].digest, "1", 0, retires)
            for i, (index, retires) in enumerate(case.secrets)
        ),
        status=Status(case.status),
        env=case.key_env,
        public=case.public,
        not_before=case.not_before,
        expires_at=case.expires_at,
        allowed_cidrs=fields.networks("", case.cidrs),
        allowed_hosts=fields.hosts("", case.hosts),
        allowed_origins=fields.origins("", case.origins),
        scopes=frozenset(case.held),
    )
    request = make_request(
        host=case.authority,
        client_address=case.address,
        headers={"origin": case.origin},
        route=Route(scopes=frozenset(case.required), env=case.route_env, public=case.route_public),
    )

    refusal = judge(record, KEYRING.parse(KEYS[case.presented].text), request, case.now)

    reason = refusal and refusal.reason.value
    event(str(reason))
    assert reason == expected(case)
