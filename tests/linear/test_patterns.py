"""Every regular expression in authz/ is linear in its input, whoever can write it."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.linear.growth import is_linear
from tests.linear.patterns import Found, every_pattern, hard_inputs

PATTERNS = list(every_pattern())


def slow_inputs(pattern: re.Pattern[Any], method: str) -> Iterator[tuple[str, str, str]]:
    """The inputs on which a pattern takes more than linear time."""
    call = getattr(pattern, method)
    is_bytes = isinstance(pattern.pattern, bytes)

    def work(text: str | bytes) -> None:
        call("", text) if method in {"sub", "subn"} and not is_bytes else _use(call, method, text)

    def made(begin: str, text: str, end: str) -> Any:
        def make(length: int) -> str | bytes:
            whole = begin + text * (length // len(text)) + end
            return whole.encode("latin-1") if is_bytes else whole

        return make

    return (hard for hard in hard_inputs(pattern) if not is_linear(work, made(*hard)))


def _use(call: Any, method: str, text: str | bytes) -> None:
    if method in {"sub", "subn"}:
        call(b"", text)
    elif method == "finditer":
        list(call(text))
    else:
        call(text)


@pytest.mark.parametrize("found", PATTERNS, ids=[found.place for found in PATTERNS])
def test_a_pattern_is_linear(found: Found) -> None:
    """Near misses of each of its loops, ten times as long, cost at most twelve times as much."""
    assert found.pattern is not None, found.problem
    for method in sorted(found.methods):
        assert list(slow_inputs(found.pattern, method)) == [], f"{found.pattern.pattern!r} {method}"


def test_the_patterns_are_found() -> None:
    """Patterns of modules, of classes and of calls, those that forward theirs among them."""
    files = {found.place.partition(":")[0] for found in PATTERNS}
    assert {"core/paths.py", "rpc/check/credential.py", "settings/values.py"} <= files
    assert len(PATTERNS) > 50


@pytest.mark.parametrize(
    ("pattern", "method"),
    [
        (r"(a+)+b", "match"),
        (r"[^/]+:[^/]+:[^/]+", "fullmatch"),
        (r"a*a*b", "match"),
        (r"[a-z]+@", "search"),
        (r"[a-z]++@", "search"),
        (r"(?:x|[a-z]y?)+;", "match"),
        (r",[ \t]*[ \t]*x", "search"),
    ],
)
def test_patterns_that_are_not_linear_are_found_out(pattern: str, method: str) -> None:
    """The test can fail: each of these is known to be slow."""
    assert next(slow_inputs(re.compile(pattern), method), None) is not None
