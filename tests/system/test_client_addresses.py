"""Forged client addresses through a real Envoy: failures count for the client that sent them."""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from tests.support.system import Installation, running

VICTIM, CLIENT, OTHER_CLIENT = "203.0.113.9", "127.0.0.2", "127.0.0.3"
UNKNOWN, BLOCKED = "invalid_api_key", "too_many_failures"
FORGED = [
    "x-forwarded-for",
    "x-envoy-external-address",
    "X-Envoy-External-Address",
    "forwarded",
    "x-real-ip",
    "true-client-ip",
    "x-envoy-internal",
]


def installed(hops: int) -> Iterator[Installation]:
    """Run an installation where a second failure blocks, behind `hops` trusted proxies."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AUTHZ_ABUSE__FAILURES_PER_MINUTE", "1")
        environment.setenv("AUTHZ_EXTRACT__CLIENT_ADDRESS", "x-envoy-external-address")
        with running(lambda manager: manager.update(xff_num_trusted_hops=hops)) as (stack, _):
            yield Installation(stack)


@pytest.fixture(scope="module")
def at_the_edge() -> Iterator[Installation]:
    """An installation whose Envoy sees its clients."""
    yield from installed(0)


@pytest.fixture(scope="module")
def behind_a_proxy() -> Iterator[Installation]:
    """An installation with one trusted proxy in front of Envoy."""
    yield from installed(1)


def fail(installation: Installation, *headers: tuple[str, str], source: str = CLIENT) -> str:
    """Send a wrong key from a loopback address, with these headers. Return the code."""
    netloc = urlsplit(installation.stack.envoy).netloc
    begun = http.client.HTTPConnection(netloc, timeout=20, source_address=(source, 0))
    with closing(begun) as connection:
        connection.putrequest("GET", "/")
        for name, value in (("x-api-key", "no key of ours"), *headers):
            connection.putheader(name, value)
        connection.endheaders()
        return json.loads(connection.getresponse().read())["code"]


def through(installation: Installation, forwarded: str, source: str = CLIENT) -> str:
    """Send a wrong key through the trusted proxy, which wrote this X-Forwarded-For."""
    return fail(installation, ("x-forwarded-for", forwarded), source=source)


def test_no_header_of_a_client_changes_whose_failures_count(at_the_edge: Installation) -> None:
    """A client that names another address is blocked itself, also with a new one each time."""
    for number, name in enumerate(FORGED):
        source = f"127.0.1.{number + 1}"
        seen = [fail(at_the_edge, (name, f"127.0.2.{n}"), source=source) for n in (1, 2, 2)]
        assert (seen[0], seen[-1]) == (UNKNOWN, BLOCKED), name
    assert fail(at_the_edge, source="127.0.2.2") == UNKNOWN
    assert fail(at_the_edge, source=OTHER_CLIENT) == UNKNOWN


def test_only_the_entry_of_the_trusted_proxy_counts(behind_a_proxy: Installation) -> None:
    """A client may write entries before it: they fill no bucket, and it does not escape its own."""
    seen = [through(behind_a_proxy, f"{VICTIM}, {n}, 198.51.100.7") for n in (VICTIM, "10.0.0.1")]
    assert seen == [UNKNOWN, BLOCKED]
    assert through(behind_a_proxy, f"198.51.100.7, {VICTIM}") == UNKNOWN
    assert through(behind_a_proxy, "198.51.100.7") == BLOCKED


@pytest.mark.parametrize(
    ("first", "second", "stranger"),
    [
        ("192.0.2.7", "::ffff:192.0.2.7", "::ffff:192.0.2.8"),
        ("::ffff:c000:228", "192.0.2.40", "192.0.2.41"),
        ("2001:db8:0:7::1", "2001:DB8:0:7:ffff::2", "2001:db8:0:8::1"),
        ("2001:db8:0:9::1%eth0", "2001:db8:0:9::1%eth1", "2001:db8:0:a::1"),
    ],
)
def test_spellings_of_one_client(
    behind_a_proxy: Installation, first: str, second: str, stranger: str
) -> None:
    """An IPv4-mapped address counts as IPv4, an IPv6 address by its /64 and without its zone."""
    seen = [through(behind_a_proxy, one) for one in (first, second, stranger)]
    assert seen == [UNKNOWN, BLOCKED, UNKNOWN]


def test_an_entry_that_envoy_cannot_read(behind_a_proxy: Installation) -> None:
    """Failures behind an unreadable last entry count for the address of the trusted proxy."""
    garbled = ["192.0.2.50:5555", "[2001:db8::5]:443", "unknown", "", "192.0.2.050"]
    for number, text in enumerate(garbled):
        source = f"127.0.3.{number + 1}"
        seen = [through(behind_a_proxy, f"{VICTIM}, {text}", source) for _ in range(2)]
        assert seen == [UNKNOWN, BLOCKED], text
        assert fail(behind_a_proxy, source=source) == BLOCKED
