"""An Envoy configuration as plain data: a bootstrap, a part of one, or the output of /config_dump.

References are not resolved and the document may be incomplete: messages are found by their type,
at any depth. The same rules therefore read a file written by hand and a configuration from a mesh.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from authz.core.errors import BadInput
from authz.process.nested_yaml import BoundedLoader

MAX_BYTES: Final = 64 * 2**20
MAX_PARTS: Final = 2_000_000  # nested YAML aliases turn a small file into a huge document
_WORD: Final = re.compile(r"(?<=[a-z0-9])([A-Z])")
_CAMEL: Final = re.compile(r"[a-z][a-z0-9]*+(?:[A-Z][a-z0-9]*+)++")
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)s")
# Parts of a dump that are not in force: draining listeners and configurations that Envoy refused.
_NOT_IN_FORCE: Final = frozenset({"draining_state", "error_state"})

Message = Mapping[str, Any]


def read(file: Path) -> list[Any]:
    """Return the documents of a YAML or JSON file, with field names in snake_case.

    Raises BadInput about `--envoy` if the file is unreadable, larger than 64 MiB, not YAML or JSON,
    or if no document is a mapping.
    """
    return parsed(content(file, "--envoy"), file, "--envoy")


def content(file: Path, field: str) -> bytes:
    """Return the bytes of a file.

    Raises BadInput about `field` if it cannot be read or has more than MAX_BYTES (64 MiB).
    """
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_BYTES + 1)
    except OSError as cause:
        raise BadInput(field, f"{file}: {cause.strerror}") from None
    if len(text) > MAX_BYTES:
        raise BadInput(field, f"{file}: more than {MAX_BYTES >> 20} MiB")
    return text


def parsed(text: bytes, file: Path, field: str) -> list[Any]:
    """Return the documents of YAML or JSON text, with field names in snake_case.

    A TypedStruct is replaced by its value. Parts of a dump that are draining or that Envoy refused
    are left out. Raises BadInput about `field` if the text is neither, has more than MAX_PARTS
    parts, or if no document is a mapping. `file` is only for the message.
    """
    try:
        budget = iter(range(MAX_PARTS))
        found = [snake(part, budget) for part in _parse(text)]
    except (yaml.YAMLError, ValueError, RecursionError):
        raise BadInput(field, f"{file}: not YAML or JSON, such as envoy.yaml") from None
    if not any(isinstance(part, dict) for part in found):
        raise BadInput(field, f"{file}: no configuration, such as envoy.yaml")
    return found


def _parse(text: bytes) -> list[Any]:
    """Return the documents of JSON or YAML text. Raises ValueError or YAMLError if it is neither.

    JSON is tried first: as YAML it would take ten times as long, and tabs would be errors.
    """
    try:
        return [json.loads(text)]
    except ValueError:
        return list(yaml.load_all(text, BoundedLoader))


def snake(part: Any, budget: Iterator[int]) -> Any:
    """Return the document in one spelling, without the draining and failed parts of a config dump.

    Protobuf JSON allows two spellings of a field: the result uses snake_case, as .proto files do. A
    TypedStruct becomes the message that it carries. Each part takes one item of `budget`. Raises
    ValueError if the items run out.
    """
    if next(budget, None) is None:
        raise ValueError("too many parts")
    if isinstance(part, list):
        return [snake(item, budget) for item in part]
    if not isinstance(part, dict):
        return part
    found = {_spelled(str(name)): snake(value, budget) for name, value in part.items()}
    value = found.get("value")
    if str(found.get("@type")).endswith(".TypedStruct") and isinstance(value, dict):
        return value | {"@type": found.get("type_url")}
    return {name: value for name, value in found.items() if name not in _NOT_IN_FORCE}


def _spelled(name: str) -> str:
    return _WORD.sub(r"_\1", name).lower() if _CAMEL.fullmatch(name) else name


def messages(part: Any, kind: str) -> Iterator[Message]:
    """Yield every message of a type, at any depth, an outer message before its inner ones.

    kind: the last part of the type name, such as `Cluster`.
    """
    if isinstance(part, list):
        for item in part:
            yield from messages(item, kind)
    elif isinstance(part, Mapping):
        if kind_of(part).rpartition(".")[2] == kind:
            yield part
        for item in part.values():
            yield from messages(item, kind)


def kind_of(message: Message) -> str:
    """Return the type URL (`@type`) of a message, or an empty string if it has none."""
    return str(message.get("@type", ""))


def clusters(part: Any) -> Iterator[Message]:
    """Yield every cluster: first the typed ones of a dump, then the untyped ones of a bootstrap."""
    yield from messages(part, "Cluster")
    for listed in under(part, "clusters"):
        yield from (item for item in items(listed) if "@type" not in item)


def under(part: Any, name: str) -> Iterator[Any]:
    """Yield every value of a field with that name, at any depth, outer fields first."""
    if isinstance(part, list):
        for item in part:
            yield from under(item, name)
    elif isinstance(part, Mapping):
        for key, item in part.items():
            if key == name:
                yield item
            yield from under(item, name)


def at(message: Any, *path: str) -> Any:
    """Return the value at a path of field names, or None if a field on the path is missing."""
    for name in path:
        if not isinstance(message, Mapping):
            return None
        message = message.get(name)
    return message


def within(message: Any, *path: str) -> Message:
    """Return the message at a path of field names; empty if it is missing or not a message."""
    found = at(message, *path)
    return found if isinstance(found, Mapping) else {}


def list_in(message: dict[str, Any], name: str) -> list[Any]:
    """Return the list of a field, to be changed. Create a missing one; replace another value."""
    found = message.get(name)
    if not isinstance(found, list):
        found = message[name] = []
    return found


def items(listed: Any) -> Iterator[Message]:
    """Yield the messages of a list and skip other values; nothing if the value is no list."""
    if isinstance(listed, list):
        yield from (item for item in listed if isinstance(item, Mapping))


def texts(listed: Any) -> Iterator[str]:
    """Yield the strings of a list and skip other values; nothing if the value is no list."""
    if isinstance(listed, list):
        yield from (item for item in listed if isinstance(item, str))


def is_on(value: Any) -> bool:
    """Return True only for `true`, or for a BoolValue message with `value: true`."""
    return (value.get("value") if isinstance(value, Mapping) else value) is True


def seconds(value: Any) -> float | None:
    """Return a Duration such as `0.5s` in seconds; None for other and negative values."""
    match = _DURATION.fullmatch(str(value))
    return float(match[1]) if match else None
