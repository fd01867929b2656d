"""A decoder of JSON that refuses members that stand twice, NaN and Infinity."""

import json
from typing import Any, Final


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a member stands twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity are not JSON (RFC 8259 section 6)


STRICT_JSON: Final = json.JSONDecoder(object_pairs_hook=_distinct, parse_constant=_no_constant)
"""Raises ValueError for other text, RecursionError for text that is nested too deeply."""
