"""Envoy's matchers of names, as far as they are needed here."""

import re
from collections.abc import Callable
from typing import Any

from authz.proxy.document import Message, at, is_on


def matches(regex: Any, name: str) -> bool:
    """Does an expression match all of a name?"""
    if not isinstance(regex, str):
        return False
    try:
        return re.fullmatch(regex, name, re.ASCII) is not None
    except re.error:  # RE2 has a few things that `re` has not; then a person must look
        return False


def fits(pattern: Message, name: str) -> bool:
    """Does a StringMatcher match the name of a header? Envoy has these in lower case."""
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
