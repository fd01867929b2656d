"""Envoy's string matchers, as far as the rules need them."""

import re
from collections.abc import Callable
from typing import Any

from authz.proxy.document import Message, at, is_on


def matches(regex: Any, name: str) -> bool:
    """Return whether a regular expression matches the whole name.

    False if `regex` is not a string. False for an expression that RE2 accepts and `re` does not: a
    person must look at it.
    """
    if not isinstance(regex, str):
        return False
    try:
        return re.fullmatch(regex, name, re.ASCII) is not None
    except re.error:
        return False


def fits(pattern: Message, name: str) -> bool:
    """Return whether a StringMatcher matches a lower-case header name; False for an empty matcher.

    With ignore_case the pattern is folded to lower case, except a regular expression.
    """
    folded: Callable[[str], str] = str.lower if is_on(pattern.get("ignore_case")) else str
    tests: dict[str, Callable[[str], bool]] = {
        "exact": lambda text: name == text,
        "prefix": name.startswith,
        "suffix": name.endswith,
        "contains": lambda text: text in name,
    }
    for kind, test in tests.items():
        if kind in pattern:
            return test(folded(str(pattern[kind])))
    return matches(at(pattern, "safe_regex", "regex"), name)
