"""Parse one line of an import: a JSON object with a key and its specification.

No error shows a value of the line: a user who mixes up two fields must not find the key in a log.
"""

import json
from collections.abc import Callable, Collection, Iterator
from typing import Any, BinaryIO, Final, TypeVar

from authz.cli.keyspec import life_ms
from authz.cli.options import plan
from authz.cli.times import moment_ms
from authz.core import fields
from authz.core.changes import KeySpec
from authz.core.errors import BadInput
from authz.core.keys.credentials import Imported
from authz.core.keys.keyring import Keyring
from authz.core.limits.limit import parse_limits, parse_on_outage
from authz.flows.importing import Wanted

_T = TypeVar("_T")

MAX_LINE: Final = 65_536  # bytes
DEFAULT_LIFE: Final = "90d"
LINE: Final = "the line"

# Description of a valid value, by field.
FIELDS: Final = {
    "key": "16 to 256 of A-Z a-z 0-9 _ . ~ + / = -, and not begin like one of our own keys",
    "client": "1 to 128 of A-Z a-z 0-9 . _ : @ -",
    "project": "1 to 128 of A-Z a-z 0-9 . _ : @ -",
    "tenant": "1 to 128 of A-Z a-z 0-9 . _ : @ -",
    "plan": "a plan of the settings",
    "limit": "limits, such as 10/s or 1000000/month@15",
    "on_outage": "local, allow or deny",
    "name": "one printable line of at most 256 characters",
    "env": "live or test",
    "scope": "scopes, such as models:generate",
    "host": "hosts, such as api.example.com or *.example.com",
    "origin": "origins, such as https://app.example.com",
    "cidr": "address blocks, such as 10.0.0.0/8",
    "expires_in": "a duration, such as 90d, or never",
    "not_before": "a time, such as 2026-12-01T00:00:00Z, or a duration from now, such as 7d",
    "outage_grace": "a duration from 0 to 1d, such as 30s",
    "metadata": "an object: names of A-Z a-z 0-9 . _ -, and one line of text for each",
}


def lines(source: BinaryIO) -> Iterator[tuple[int, int, bytes | None]]:
    """Yield number (from 1), size in bytes and content of each line, with its newline.

    The content is None if the line has more than MAX_LINE (65,536) bytes.
    """
    number = 0
    while raw := source.readline(MAX_LINE + 1):
        number, size = number + 1, len(raw)
        too_long = size > MAX_LINE
        while too_long and not raw.endswith(b"\n") and (raw := source.readline(MAX_LINE)):
            size += len(raw)
        yield number, size, None if too_long else raw


def parse(raw: bytes | None, keyring: Keyring, plans: Collection[str], now: int) -> Wanted:
    """Parse a line of JSON into a key and the specification of its record.

    raw: None for an overlong line. plans: names of all plans. now: milliseconds since the epoch,
    for relative times. A null member counts as absent. Raises BadInput with the field's name but no
    value: for an overlong line, other JSON, an unknown or missing field, a bad value, or a key that
    stands in another field too.
    """
    if raw is None:
        raise BadInput(LINE, f"is longer than {MAX_LINE} bytes")
    given = _object(raw)
    for name in given:
        if name not in FIELDS:
            raise BadInput(LINE, f"has an unknown field; there are {', '.join(FIELDS)}")
    key = _one(given, "key", lambda _, text: _foreign(text, keyring), None)
    client = _one(given, "client", fields.identifier, None)
    if key is None or client is None:
        raise BadInput("client" if key else "key", "is needed")
    if raw.count(given["key"].encode()) > 1:
        raise BadInput("key", "stands in another field too, where it would be stored and shown")
    return Wanted(key, _spec(client, given, plans, now))


def _object(raw: bytes) -> dict[str, Any]:
    try:
        given = json.loads(raw.decode(), object_pairs_hook=_unique_names)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise BadInput(LINE, 'is not one JSON object, such as {"key": "...", "client": "acme"}')
    return {name: value for name, value in given.items() if value is not None}


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _spec(client: str, given: dict[str, Any], plans: Collection[str], now: int) -> KeySpec:
    return KeySpec(
        client_id=client,
        env=_one(given, "env", fields.environment, "live"),
        name=_one(given, "name", fields.line, ""),
        project_id=_one(given, "project", fields.identifier, ""),
        tenant_id=_one(given, "tenant", fields.identifier, ""),
        plan=_one(given, "plan", lambda name, text: plan(name, text, plans), ""),
        limits=_several(given, "limit", parse_limits),
        on_outage=_one(given, "on_outage", parse_on_outage, None),
        scopes=_several(given, "scope", fields.scopes),
        not_before=_one(given, "not_before", lambda name, text: moment_ms(name, text, now), None),
        life_ms=_one(given, "expires_in", life_ms, life_ms("expires_in", DEFAULT_LIFE)),
        allowed_cidrs=_several(given, "cidr", fields.networks),
        allowed_hosts=_several(given, "host", fields.hosts),
        allowed_origins=_several(given, "origin", fields.origins),
        metadata=_metadata(given),
        outage_grace=_one(given, "outage_grace", fields.outage_grace_ms, None),
    )


def _foreign(text: str, keyring: Keyring) -> Imported:
    found = keyring.parse_imported(text)
    if found is None:
        raise BadInput("key", "")
    return found


def _one(given: dict[str, Any], name: str, parse: Callable[[str, str], _T], default: _T) -> _T:
    """Parse a field with one text; return `default` if it is absent.

    Raises BadInput without the value if it is not a valid text.
    """
    value = given.get(name)
    if value is None:
        return default
    try:
        return parse(name, _text(value))
    except (BadInput, TypeError):
        raise _wrong(name) from None


def _several(given: dict[str, Any], name: str, parse: Callable[[str, list[str]], _T]) -> _T:
    """Parse a field with a list of texts, or a single text; an absent field is an empty list.

    Raises BadInput without the values if one is not a valid text.
    """
    value = given.get(name, [])
    try:
        return parse(name, [_text(item) for item in (value if type(value) is list else [value])])
    except (BadInput, TypeError):
        raise _wrong(name) from None


def _metadata(given: dict[str, Any]) -> dict[str, str]:
    value = given.get("metadata", {})
    try:
        return fields.metadata("", {name: _text(text) for name, text in value.items()})
    except (BadInput, TypeError, AttributeError):
        raise _wrong("metadata") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _wrong(name: str) -> BadInput:
    return BadInput(name, f"has to be {FIELDS[name]}")
