"""An Envoy configuration as plain data: a bootstrap, a part of one, or what /config_dump says.

Nothing is resolved and nothing has to be complete: messages are found by their type, wherever they
stand. So the same rules look at a file that a person wrote and at what a mesh made for a pod.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from authz.core.errors import BadInput

MAX_BYTES: Final = 64 * 2**20
MAX_PARTS: Final = 2_000_000  # aliases of aliases make a small file a large configuration
_WORD: Final = re.compile(r"(?<=[a-z0-9])([A-Z])")
_CAMEL: Final = re.compile(r"[a-z][a-z0-9]*(?:[A-Z][a-z0-9]*)+")
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)s")
# What a dump also holds, and is not in force: what goes, and what Envoy has refused.
_ELSEWHERE: Final = frozenset({"draining_state", "error_state"})
# Much faster, and not in every build of PyYAML.
_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Message = Mapping[str, Any]


def read(file: Path) -> list[Any]:
    """The documents of a YAML or JSON file. Raises BadInput."""
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_BYTES + 1)
    except OSError as cause:
        raise BadInput("--envoy", f"{file}: {cause.strerror}") from None
    if len(text) > MAX_BYTES:
        raise BadInput("--envoy", f"{file}: more than {MAX_BYTES >> 20} MiB")
    try:
        budget = iter(range(MAX_PARTS))
        found = [snake(part, budget) for part in _parse(text)]
    except (yaml.YAMLError, ValueError, RecursionError):
        raise BadInput("--envoy", f"{file}: not YAML or JSON, such as envoy.yaml") from None
    if not any(isinstance(part, dict) for part in found):
        raise BadInput("--envoy", f"{file}: no configuration, such as envoy.yaml")
    return found


def _parse(text: bytes) -> list[Any]:
    """JSON is mostly YAML, too, but not with tabs, and takes ten times as long as such."""
    try:
        return [json.loads(text)]
    except ValueError:
        return list(yaml.load_all(text, _Loader))


def snake(part: Any, budget: Iterator[int]) -> Any:
    """The same in one spelling: JSON of protobuf messages has two of a field, and two of a message.

    Fields are as in the .proto files, a TypedStruct is the message that it stands for, and what is
    not in force is left out. Raises ValueError when there are more parts than in `budget`.
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
    return {name: value for name, value in found.items() if name not in _ELSEWHERE}


def _spelled(name: str) -> str:
    return _WORD.sub(r"_\1", name).lower() if _CAMEL.fullmatch(name) else name


def messages(part: Any, kind: str) -> Iterator[Message]:
    """Every message of a type, given by the last part of its name, in the order of the file."""
    if isinstance(part, list):
        for item in part:
            yield from messages(item, kind)
    elif isinstance(part, Mapping):
        if kind_of(part).rpartition(".")[2] == kind:
            yield part
        for item in part.values():
            yield from messages(item, kind)


def kind_of(message: Message) -> str:
    """The type of a message, as far as it is said."""
    return str(message.get("@type", ""))


def clusters(part: Any) -> Iterator[Message]:
    """Every cluster: in a bootstrap they have no type, in a dump they have."""
    yield from messages(part, "Cluster")
    for listed in under(part, "clusters"):
        yield from (item for item in items(listed) if "@type" not in item)


def under(part: Any, name: str) -> Iterator[Any]:
    """Every value of a field of that name, however deep."""
    if isinstance(part, list):
        for item in part:
            yield from under(item, name)
    elif isinstance(part, Mapping):
        for key, item in part.items():
            if key == name:
                yield item
            yield from under(item, name)


def at(message: Any, *path: str) -> Any:
    """The value at a path of field names, or None."""
    for name in path:
        if not isinstance(message, Mapping):
            return None
        message = message.get(name)
    return message


def within(message: Any, *path: str) -> Message:
    """The message at a path of field names, or an empty one."""
    found = at(message, *path)
    return found if isinstance(found, Mapping) else {}


def items(listed: Any) -> Iterator[Message]:
    """The messages of a list."""
    if isinstance(listed, list):
        yield from (item for item in listed if isinstance(item, Mapping))


def texts(listed: Any) -> Iterator[str]:
    """The strings of a list."""
    if isinstance(listed, list):
        yield from (item for item in listed if isinstance(item, str))


def is_on(value: Any) -> bool:
    """A bool, or a BoolValue as some tools write it."""
    return (value.get("value") if isinstance(value, Mapping) else value) is True


def seconds(value: Any) -> float | None:
    """A Duration; None for what is none."""
    match = _DURATION.fullmatch(str(value))
    return float(match[1]) if match else None
