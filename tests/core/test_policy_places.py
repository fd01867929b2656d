"""Where from, where to and what for: what a request must be for a key to open it."""

import pytest

from authz.core import fields
from authz.core.decision import Reason
from authz.core.request import Route
from tests.support.core.judging import reason


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
    ("public", "marked", "expected"),
    [
        (False, False, None),
        (False, True, None),
        (True, True, None),
        (True, False, Reason.PUBLIC_KEY_NOT_ALLOWED),
    ],
)
def test_a_publishable_key_works_on_marked_routes_alone(public, marked, expected):
    """A route takes publishable keys only if it says so; a secret key works on both."""
    record = {"public": public, "allowed_origins": ("https://a.net",)}
    request = {"route": Route(public=marked), "headers": {"origin": "https://a.net"}}

    assert reason(record, request) is expected


@pytest.mark.parametrize("origin", ["", "null", "https://a.net"])
def test_a_publishable_key_without_origins_works_nowhere(origin):
    """A record that lost its origins must not work from any."""
    request = {"route": Route(public=True), "headers": {"origin": origin} if origin else {}}

    assert reason({"public": True}, request) is Reason.ORIGIN_NOT_ALLOWED


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
        ("https://app.example.com", "https://app.example.com.", False),
        ("https://app.example.com", "https://app.example.com:443", False),
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
    """A key bound to origins is refused without an Origin header."""
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
