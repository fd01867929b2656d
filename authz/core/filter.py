"""Filters of lists, as texts: a part of AIP-160 (https://google.aip.dev/160).

    client_id = acme AND status = active AND expire_time < "2027-01-01T00:00:00Z"

A filter is comparisons joined by AND. A value is a word, or a text in double quotes in which `\\"`
and `\\\\` stand for `"` and `\\`. A field of a map is written as `metadata.team`.
"""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from authz.core import fields
from authz.core.errors import BadInput
from authz.core.fields import shown
from authz.core.kinds import Kind
from authz.core.name_patterns import Glob, Search
from authz.core.selector import Selector, State

MAX_FILTER: Final = 2048  # characters
MAX_COMPARISONS: Final = 20
OPERATORS: Final = ("=", "<")

_METADATA: Final = "metadata."
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_RFC_3339: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)", re.ASCII
)
# One token. Each alternative begins with another character, so a match takes linear time.
_TOKEN: Final = re.compile(r'"(?:[^"\\]++|\\["\\])*+"|[<>!=]=?|[^\s"<>!=()]+|[()]')


class Comparison(NamedTuple):
    """One comparison of a filter: a field, `=` or `<`, and a value."""

    name: str
    operator: str
    value: str


def parse_filter(field: str, text: str) -> Selector:
    """Return the selector of a filter. An empty filter selects every key.

    Raises BadInput about `field` for text that is no filter, an unknown name, a wrong operator or
    value, and a name that is compared twice.
    """
    found: dict[str, Any] = {}
    metadata: dict[str, str] = {}
    for name, operator, value in comparisons(field, text):
        if name.startswith(_METADATA):
            place, key = metadata, name.removeprefix(_METADATA)
            parsed: Any = fields.metadata(field, {key: value})[key]
            wanted = "="
        elif name in _FIELDS:
            place, (key, wanted, parse) = found, _FIELDS[name]
            parsed = parse(field, value)
        else:
            known = f"{', '.join(_FIELDS)} and metadata.NAME"
            raise BadInput(field, f"{shown(name)} is no field; there are {known}")
        if operator != wanted:
            raise BadInput(field, f"{name} goes with {wanted}, not with {operator}")
        if key in place:
            raise BadInput(field, f"{name} is compared twice")
        place[key] = parsed
    return Selector(**found, metadata=metadata)


def comparisons(field: str, text: str) -> list[Comparison]:
    """Return the comparisons of a filter, in order; none for an empty text.

    Names are not checked. Raises BadInput about `field` if the form is wrong.
    """
    if len(text) > MAX_FILTER:
        raise BadInput(field, f"at most {MAX_FILTER} characters")
    tokens = list(_tokens(field, text))
    found: list[Comparison] = []
    while tokens:
        if found and tokens.pop(0) != "AND":
            raise BadInput(field, "comparisons are joined by AND")
        if len(tokens) < 3 or tokens[0][0] == '"' or tokens[1] not in OPERATORS:  # noqa: PLR2004
            raise BadInput(field, "comparisons such as client_id = acme, joined by AND")
        name, operator, value = tokens[:3]
        del tokens[:3]
        found.append(Comparison(name, operator, _value(field, value)))
        if len(found) > MAX_COMPARISONS:
            raise BadInput(field, f"at most {MAX_COMPARISONS} comparisons")
    return found


def _tokens(field: str, text: str) -> Iterator[str]:
    place = 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        match = _TOKEN.match(text, place)
        if match is None:
            raise BadInput(field, f"{shown(text[place:])}: a quote or a backslash is wrong")
        yield match[0]
        place = match.end()


def _value(field: str, token: str) -> str:
    if token[0] == '"':
        return token[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if token in {*"()<>!=", "<=", ">=", "!=", "==", "AND"}:
        raise BadInput(field, f"{shown(token)} is no value; put a text into double quotes")
    return token


def _time(field: str, text: str) -> int:
    try:
        if _RFC_3339.fullmatch(text):
            return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        pass
    raise BadInput(field, f"{shown(text)} is not a time, such as 2026-12-01T00:00:00Z")


def _states(field: str, text: str) -> frozenset[State]:
    word = fields.folded(text).removeprefix("status_")
    if word not in set(State):
        raise BadInput(field, f"{shown(text)}: one of {', '.join(State)}")
    return frozenset({State(word)})


def _kind(field: str, text: str) -> Kind:
    word = fields.folded(text)
    if word not in set(Kind):
        raise BadInput(field, f"{shown(text)}: one of {', '.join(Kind)}")
    return Kind(word)


def _env(field: str, text: str) -> str:
    return fields.environment(field, fields.folded(text).removeprefix("environment_"))


# The field of a Selector, the operator and the parser of each field of a filter.
_FIELDS: Final[dict[str, tuple[str, str, Callable[[str, str], Any]]]] = {
    "client_id": ("client_id", "=", fields.identifier),
    "project_id": ("project_id", "=", fields.identifier),
    "tenant_id": ("tenant_id", "=", fields.identifier),
    "plan": ("plan", "=", fields.identifier),
    "env": ("env", "=", _env),
    "kind": ("kind", "=", _kind),
    "status": ("states", "=", _states),
    "display_name": ("name", "=", Glob.parse),
    "search": ("search", "=", Search.parse),
    "create_time": ("created_before", "<", _time),
    "expire_time": ("expires_before", "<", _time),
    "revoke_time": ("revoked_before", "<", _time),
    "last_use_time": ("unused_since", "<", _time),
}
