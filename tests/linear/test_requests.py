"""One request is linear in its length, before its credential is known and after."""

import ipaddress
import itertools
from typing import Any

import pytest

from authz.core.route_facts import Facts
from authz.core.route_rule import Rule
from authz.core.routes import RouteTable
from tests.linear.growth import Input, is_linear
from tests.support.fakes import NOW
from tests.support.rpc.door import Door
from tests.support.rpc.messages import check_request
from tests.support.rpc.reading import KEY, extractor

RULES = RouteTable(
    [
        Rule.parse("routes", "/v1/models/{model}:{verb}", "", ("POST",), Facts()),
        Rule.parse("routes", "/{a}-{b}-{c}", "", (), Facts(frozenset({"x:{a}"}))),
        Rule.parse("routes", "/files/**", "*.example.com", (), Facts()),
    ]
)
READER = extractor(
    carriers=("x-api-key:", "authorization:bearer", "basic:username"), query="api_key", rules=RULES
)

KEYS = ("ak_", "ak_live_", "%61k_live_", KEY, f"{KEY},")
VALUES = (
    "a",
    ",",
    " ",
    ", ",
    "bearer ",
    "Bearer ,",
    "Bearer a,",
    "basic ",
    "Basic YWs=,",
    "%",
    "=",
)
HOSTS = ("a.", "a", ".", ":", "1:", "[", "a-", "xn--")
PATHS = (":", "a:", "-", "a-", "/", "/a", "%3A", "%41", "%25", ".", "/.", ";", "{", "\u00e9", "a/:")
QUERIES = ("&", "api_key=", "&api_key=", "%61", "a=b&", ";", "?", "=", "api%5Fkey=x&")


def repeated(text: str, before: str = "", after: str = "") -> Input:
    """Texts of any length."""
    return lambda length: before + text * (length // len(text)) + after


def asks(**fixed: Any) -> Any:
    """Serialise a request of which one part is the long text."""
    (part,) = (name for name, value in fixed.items() if callable(value))

    def make(length: int) -> bytes:
        return check_request(**fixed | {part: fixed[part](length)}).SerializeToString()

    return make


@pytest.mark.parametrize("text", [*KEYS, *VALUES])
@pytest.mark.parametrize("name", ["x-api-key", "authorization"])
def test_a_header_with_a_credential(name: str, text: str) -> None:
    """Looking for keys in a value, whatever it consists of."""
    for before, after in itertools.product(("", "Bearer ", "Basic "), ("", KEY, "!")):
        made = repeated(text, before, after)
        assert is_linear(READER.read, asks(headers=lambda n, made=made: [(name, made(n))]))


@pytest.mark.parametrize("text", HOSTS)
def test_a_host(text: str) -> None:
    """Reading a host, and comparing it with those of rules."""
    for after in ("", ".example.com", ":80", ":", "!"):
        assert is_linear(READER.read, asks(host=repeated(text, "", after), path="/files/a"))


@pytest.mark.parametrize("text", PATHS)
def test_a_path(text: str) -> None:
    """Reading a path and comparing it with templates."""
    for before, after in itertools.product(("/", "/v1/models/", "/files/"), ("", "/x", "-", ":")):
        assert is_linear(READER.read, asks(path=repeated(text, before, after), method="POST"))


@pytest.mark.parametrize("text", [*QUERIES, *KEYS])
def test_a_query(text: str) -> None:
    """Looking for the parameter, and for keys beside it."""
    for after in ("", f"&api_key={KEY}", "%"):
        assert is_linear(READER.read, asks(path=repeated(text, "/files/a?", after)))


def test_a_method_and_many_headers() -> None:
    """Headers that nobody looks for cost their parsing only."""
    assert is_linear(READER.read, asks(method=repeated("A")))
    assert is_linear(READER.read, asks(method=repeated("a")))
    many = asks(headers=lambda length: [(f"x-{n}", "v" * 54) for n in range(length // 60)])
    assert is_linear(READER.read, many)
    raw = asks(
        headers=lambda length: [(f"x-{n}", "v" * 54) for n in range(length // 60)], raw_headers=True
    )
    assert is_linear(READER.read, raw)


SHAPES = ("a", "{v}", "{v}:{w}", "{v}:{w}:{x}", "a{v}aa{w}aaa{x}b", "{v}ab{w}ba{x}")
TEMPLATES = [
    *("/" + "/".join(parts) for n in (1, 2) for parts in itertools.product(SHAPES, repeat=n)),
    "/" + ":".join(f"{{v{n}}}" for n in range(100)),
    "/{v}" + "a" * 63 + "b{w}",
    "/{v}:{w}/{x}:{y}/{z}:a/**",
    "/**",
]
SEGMENTS = (":", "a", "ab", "aab", "a:", "a" * 63, "b")


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_of_any_shape(template: str) -> None:
    """Near misses of the template's own text, in one segment and in each of several."""
    table = RouteTable([Rule.parse("routes", template, "", (), Facts())])
    count = max(1, template.count("/"))

    def work(path: str) -> None:
        table.require("GET", "h", path)

    for text, end in itertools.product(SEGMENTS, ("", "/", "/x", "a", "%3A")):

        def make(length: int, text: str = text, end: str = end) -> str:
            segment = text * (length // len(text) // count)
            return "/" + "/".join([segment] * count) + end

        assert is_linear(work, make), (text, end)


@pytest.mark.parametrize(
    "text", ["a", ".", "-", "https://", "a.", ":", "application/grpc", "1", "\u212a"]
)
@pytest.mark.parametrize(
    "name", ["origin", "content-type", "x-request-id", "x-envoy-external-address", "traceparent"]
)
async def test_a_header_after_the_credential(name: str, text: str) -> None:
    """The whole Check of a key that is bound to addresses, hosts and origins."""
    door = Door()
    _, key = door.issue(
        allowed_cidrs=(ipaddress.ip_network("203.0.113.0/24"),),
        allowed_hosts=("*.example.com",),
        allowed_origins=("https://*.example.com",),
        expires_at=NOW + 1000,
    )
    door.extractor = extractor()
    door.compose()
    await door.answer(check_request([("x-api-key", key)]))
    for before, after in itertools.product(("", "https://"), ("", ".example.com", "!")):
        made = repeated(text, before, after)
        sent = asks(headers=lambda n, made=made: [("x-api-key", key), (name, made(n))])
        assert is_linear(door.check, sent)
