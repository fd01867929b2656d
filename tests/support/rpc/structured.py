"""Structured fields (RFC 9651), as far as RateLimit needs them: strings with integers."""

import re

_STRING = r'"(?:[ !#-\[\]-~]|\\["\\])*"'
_INTEGER = r"-?\d{1,15}"
_ITEM = re.compile(rf"({_STRING})((?:;[a-z*][a-z0-9_.*-]*={_INTEGER})*)", re.ASCII)


def parse(text: str) -> dict[str, dict[str, int]]:
    """Return each item's parameters by the item. Raises ValueError, also for a repeated string."""
    found: dict[str, dict[str, int]] = {}
    for part in re.split(r"[ \t]*,[ \t]*", text):
        item = _ITEM.fullmatch(part)
        if item is None or item[1][1:-1] in found:
            raise ValueError(f"{part!r} is no item of its own")
        pairs = (parameter.split("=") for parameter in item[2].split(";")[1:])
        found[item[1][1:-1]] = {name: int(value) for name, value in pairs}
    return found
