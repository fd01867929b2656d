"""Rules of our own settings: templates, methods, hosts, order, and paths with two readings."""

import posixpath
import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.decision import Reason
from authz.core.errors import BadInput
from authz.core.routes import MAX_TEMPLATE, NO_FACTS, Facts, RouteTable, Rule, is_canonical

A, B = Facts(scopes=frozenset({"a:x"})), Facts(optional=True, env="live")


def rule(path: str, host: str = "", methods: tuple[str, ...] = (), facts: Facts = A) -> Rule:
    """A rule as the settings would make it."""
    return Rule.parse("routes", path, host, methods, facts)


@pytest.mark.parametrize(
    ("template", "matching", "others"),
    [
        ("/", ["/"], ["/a", ""]),
        ("/v1", ["/v1", "/v1/"], ["/v1/a", "/v10", "/V1", "/"]),
        ("/v1/", ["/v1", "/v1/"], ["/v1/a"]),
        ("/v1/{id}", ["/v1/7", "/v1/a:b", "/v1/7/"], ["/v1", "/v1/", "/v1/7/8"]),
        (
            "/v1/models/{model}:generateContent",
            ["/v1/models/gemini-pro:generateContent"],
            ["/v1/models/:generateContent", "/v1/models/a/b:generateContent", "/v1/models/a"],
        ),
        ("/v1/{a}/b/{c_2}", ["/v1/x/b/y"], ["/v1/x/c/y", "/v1//b/y"]),
        ("/files/**", ["/files", "/files/", "/files/a", "/files/a/b"], ["/file", "/filesa"]),
        ("/**", ["/", "/a", "/a/b/"], [""]),
        ("/a.b", ["/a.b"], ["/axb"]),
        ("/a+(b)", ["/a+(b)"], ["/aa(b)"]),
        ("/sp%20ace", ["/sp%20ace"], ["/sp ace"]),
    ],
)
def test_templates(template: str, matching: list[str], others: list[str]) -> None:
    """A template matches whole paths, a variable a part of one segment."""
    known = rule(template)

    assert [path for path in matching if not known.matches("GET", "h", path)] == []
    assert [path for path in others if known.matches("GET", "h", path)] == []


@pytest.mark.parametrize(
    "template",
    [
        *("", "v1", "*", "//", "/a//b", "/a/../b", "/./a", "/a%2fb", "/a%2Fb", "/a%61", "/a%"),
        *("/{a}{b}", "/{A}", "/{", "/{a", "/a}", "/{}", "/a/**/b", "/**/", "/a**", "/a b", "/é"),
        *("/a?b", "/a#b", "/a;b", "/a\\b", "/a\n", "/" + "a" * MAX_TEMPLATE),
    ],
)
def test_templates_that_are_refused(template: str) -> None:
    """A template that could not match a canonical path, or not be understood, is an error."""
    with pytest.raises(BadInput, match="is not a path template, such as /v1/"):
        rule(template)


@pytest.mark.parametrize("method", ["get", "", "G T", "GET,POST", "G\n", "*"])
def test_methods_that_are_refused(method: str) -> None:
    """Methods are tokens in upper case, as RFC 9110 compares them."""
    with pytest.raises(BadInput, match="is not a method, such as POST"):
        rule("/", methods=(method,))


def test_the_first_rule_that_applies_decides() -> None:
    """Order is the whole of precedence."""
    table = RouteTable([rule("/a", facts=A), rule("/**", facts=B)])

    assert table.require("GET", "h", "/a") is A
    assert table.require("GET", "h", "/b") is B
    assert RouteTable([rule("/**", facts=B), rule("/a", facts=A)]).require("GET", "h", "/a") is B


def test_what_no_rule_applies_to_asks_for_nothing_or_is_refused() -> None:
    """By default any good key opens it; routes_default: deny refuses it."""
    open_table, closed = (RouteTable([rule("/a")], deny_unmatched=deny) for deny in (False, True))

    assert open_table.require("GET", "h", "/b") == Facts()
    assert closed.require("GET", "h", "/b") is Reason.ROUTE_NOT_ALLOWED
    assert closed.require("GET", "h", "/a?b=//..") is A


def test_a_path_with_two_readings_is_refused_whatever_the_rules() -> None:
    """Also where a rule for everything would match; the query is not a part of the path."""
    table = RouteTable([rule("/**")])

    assert table.require("GET", "h", "/a/../b") is Reason.AMBIGUOUS_PATH
    assert table.require("CONNECT", "h", "") is Reason.AMBIGUOUS_PATH
    assert table.require("GET", "h", "/a?x=/../") is A


def test_methods_and_hosts_narrow_a_rule() -> None:
    """No methods is any method, no host any host; ports and case of a host do not matter."""
    table = RouteTable(
        [rule("/a", methods=("POST", "PUT")), rule("/a", host="*.example.com", facts=B)]
    )

    assert table.require("POST", "other", "/a") is A
    assert table.require("GET", "api.EXAMPLE.com:8443", "/a") is B
    assert table.require("GET", "example.com", "/a") is NO_FACTS
    assert table.require("post", "other", "/a") is NO_FACTS


@pytest.mark.parametrize(
    "path",
    [
        *("", "*", "a", "//", "/a//b", "/a//", "/.", "/..", "/a/./b", "/a/../b", "/a/..", "/a/."),
        *(
            "/a\\b",
            "/a;x=1",
            "/a;/b",
            "/..;/b",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a%5Cb",
            "/%2e%2e/a",
        ),
        *("/%2E", "/%61dmin", "/a%7e", "/%30", "/a%", "/a%2", "/a%zz", "/a%00", "/a%0d", "/a%1F"),
        *("/a\x00", "/a b", "/a\t", "/é", "/a#b", "/a%7F", "/%5f", "/%2D"),
    ],
)
def test_paths_with_two_readings(path: str) -> None:
    """What a proxy and a backend could read differently is not canonical."""
    assert not is_canonical(path)


@pytest.mark.parametrize(
    "path",
    ["/", "/a", "/a/", "/a/b.c/d-e_f~g", "/a:b@c", "/a%20b", "/%C3%A9", "/...", "/.a", "/a,b"],
)
def test_paths_with_one_reading(path: str) -> None:
    """Ordinary paths, also with characters that need their encoding."""
    assert is_canonical(path)


def read_by_a_backend(path: str) -> str:
    """How a lenient backend may read a path: parameters cut, decoded, dots and slashes resolved."""
    bare = re.sub(r";[^/]*", "", path)
    decoded = unquote(bare, errors="replace").replace("\\", "/")
    return posixpath.normpath("/" + decoded.lstrip("/"))


@given(st.text(alphabet="/.a%2eEfF5cC;\\61dmin\x00", max_size=24).map(lambda text: "/" + text))
def test_no_spelling_gets_around_a_rule(path: str) -> None:
    """A path that a lenient backend reads as /admin is matched by the rule, or not canonical."""
    known = rule("/admin/**")
    backend = read_by_a_backend(path)

    if backend == "/admin" or backend.startswith("/admin/"):
        assert known.matches("GET", "h", path) or not is_canonical(path)


@given(st.text(alphabet="ab/", min_size=1, max_size=30).map(lambda text: "/" + text))
def test_a_rule_for_a_path_matches_that_path(path: str) -> None:
    """Every canonical literal path is its own template."""
    if is_canonical(path):
        assert rule(path).matches("GET", "h", path)


def test_a_hostile_path_costs_little() -> None:
    """Many variables and a long path do not make matching explode."""
    known = rule("/" + "/".join(f"{{a}}x{{b{i}}}" for i in range(20)))

    assert not known.matches("GET", "h", "/" + "x" * 60_000)
