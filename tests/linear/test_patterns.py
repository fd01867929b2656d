"""Every regular expression in authz/ is linear in its input, whoever can write it."""

import re
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.linear.growth import LARGE, Input, is_linear
from tests.linear.patterns import Found, every_pattern, hard_inputs

PATTERNS = list(every_pattern())


MATCHING = {"match", "fullmatch", "search", "findall"}
MEMORY = 16  # bytes for each character of the input; a kept state of the matcher takes 88 or more


def slow_inputs(pattern: re.Pattern[Any], method: str) -> Iterator[tuple[str, str, str]]:
    """The inputs on which a pattern takes more than linear time."""
    work = _use(pattern, method)
    return (
        hard for hard in hard_inputs(pattern) if not is_linear(work, _lengthened(pattern, *hard))
    )


def large_inputs(pattern: re.Pattern[Any], method: str) -> Iterator[tuple[str, str, str]]:
    """The inputs on which the matcher keeps a state for each character."""
    work = _use(pattern, method)
    for hard in hard_inputs(pattern):
        given = _lengthened(pattern, *hard)(LARGE)
        tracemalloc.start()
        try:
            work(given)
            if tracemalloc.get_traced_memory()[1] > MEMORY * len(given):
                yield hard
        finally:
            tracemalloc.stop()


def _lengthened(pattern: re.Pattern[Any], begin: str, text: str, end: str) -> Input:
    def make(length: int) -> str | bytes:
        whole = begin + text * (length // len(text)) + end
        return whole.encode("latin-1") if isinstance(pattern.pattern, bytes) else whole

    return make


def _use(pattern: re.Pattern[Any], method: str) -> Callable[[Any], Any]:
    call = getattr(pattern, method)
    if method in {"sub", "subn"}:
        nothing = pattern.pattern[:0]
        return lambda text: call(nothing, text)
    if method == "finditer":
        # One match at a time, as its users do: memory for many at once would be timed, too.
        return lambda text: deque(call(text), maxlen=0)
    return call  # type: ignore[no-any-return]


@pytest.mark.parametrize("found", PATTERNS, ids=[found.place for found in PATTERNS])
def test_a_pattern_is_linear(found: Found) -> None:
    """Near misses of each of its loops, ten times as long, cost at most twelve times as much."""
    assert found.pattern is not None, found.problem
    for method in sorted(found.methods):
        assert list(slow_inputs(found.pattern, method)) == [], f"{found.pattern.pattern!r} {method}"


@pytest.mark.parametrize(
    "found",
    # The results of the others take memory of their own.
    [found for found in PATTERNS if found.methods & MATCHING],
    ids=lambda found: found.place,
)
def test_a_pattern_keeps_no_state_for_each_character(found: Found) -> None:
    """No loop may give back characters: it would take ten megabytes for one request of 60 KB."""
    assert found.pattern is not None, found.problem
    for method in sorted(found.methods & MATCHING):
        assert list(large_inputs(found.pattern, method)) == [], (
            f"{found.pattern.pattern!r} {method}"
        )


def test_patterns_that_keep_state_are_found_out() -> None:
    """A loop that may give back characters is found; a possessive loop passes."""
    assert next(large_inputs(re.compile("(?:a|%20)*c"), "match"), None) is not None
    assert next(large_inputs(re.compile("(?:a|%20)*+c"), "match"), None) is None


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
