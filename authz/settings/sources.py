"""The sources of settings: a file, the environment, the command line. Each is a tree of names.

A source can name the origin of each setting, for error messages.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from operator import eq
from pathlib import Path
from typing import Any, Final

import yaml

from authz.core.errors import BadInput
from authz.core.fields import shown

ENV_PREFIX: Final = "AUTHZ_"
# Variables that the command line reads itself, and those that Kubernetes sets in every pod beside a
# Service whose name begins with `authz`. Those have no `__`; every setting has one.
NOT_SETTINGS: Final = re.compile(
    r"AUTHZ_(CONFIG|ACTOR|(?!.*__)(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_\w+)?))"
)
MAX_FILE: Final = 1 << 20

Location = tuple[int | str, ...]  # ("keys", "peppers", 0, "file")


@dataclass(frozen=True, slots=True)
class Source:
    """Settings of one source. tree: nested by section. base: the directory of its relative paths.

    name: returns the origin of a setting for error messages, such as `in FILE`.
    """

    tree: Mapping[str, Any]
    base: Path
    name: Callable[[Location], str]

    def holds(self, location: Location) -> bool:
        """Return whether this source has the setting, also with the value null.

        True for an empty location.
        """
        part: Any = self.tree
        for step in location:
            if isinstance(step, int):
                found = isinstance(part, list) and step < len(part)
            else:
                found = isinstance(part, Mapping) and step in part
            if not found:
                return False
            part = part[step]
        return True


def merged(upper: Mapping[str, Any], lower: Mapping[str, Any]) -> dict[str, Any]:
    """Return both trees merged, as a new dict. `upper` wins.

    Sections are merged name by name; a list is one value.
    """
    found = dict(lower)
    for name, value in upper.items():
        below = found.get(name)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        found[name] = merged(value, below or {}) if both else value
    return found


def origin(layers: Sequence[Source], location: Location) -> Source:
    """Return the first source of the setting, or of its nearest section if the setting is missing.

    If no source has either, return the last one.
    """
    for length in range(len(location), 0, -1):
        for source in layers:
            if source.holds(location[:length]):
                return source
    return layers[-1]


def command_line(flags: Mapping[str, Any]) -> Source:
    """Return the flags as a source. flags: nested like the file.

    Paths start at the current directory.
    """
    return Source(flags, Path.cwd(), lambda _: "from the command line")


def environment(environ: Mapping[str, str]) -> Source:
    """Return the variables `AUTHZ_SECTION__NAME` as a source. Paths start at the current directory.

    A list or a whole section is JSON; text that begins with a bracket but is no JSON stays text.
    Variables that match NOT_SETTINGS are left out.
    """
    given = {
        name: tuple(name.removeprefix(ENV_PREFIX).lower().split("__"))
        for name in environ
        if name.startswith(ENV_PREFIX) and not NOT_SETTINGS.fullmatch(name)
    }
    tree: dict[str, Any] = {}
    for name, steps in sorted(given.items(), key=lambda item: len(item[1])):
        value = _json_or_text(environ[name])
        for step in reversed(steps):
            value = {step: value}
        tree = merged(value, tree)

    def source_of(location: Location) -> str:
        def shared(name: str) -> int:
            return sum(takewhile(bool, map(eq, given[name], location)))

        return f"from {max(given, key=lambda name: (shared(name), len(name)))}"

    return Source(tree, Path.cwd(), source_of)


def file(path: Path) -> Source:
    """Return the settings of a YAML file; none for an empty file.

    Raises BadInput if it is unreadable, longer than MAX_FILE bytes, not YAML, not sections, or has
    aliases or a name twice.
    """
    try:
        with path.open("rb") as opened:
            content = opened.read(MAX_FILE + 1)
    except (OSError, ValueError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else "not a file name"
        raise BadInput("--config", f"{path}: {reason}") from None
    if len(content) > MAX_FILE:
        raise BadInput("--config", f"{path}: settings have at most {MAX_FILE} bytes")
    tree = _yaml(content, path)
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise BadInput("--config", f"{path}: settings are sections, such as `check:`")

    def place(location: Location) -> str:
        # An entry of a list has no name of its own to look for.
        is_entry = any(isinstance(step, int) for step in location)
        return f"in {path}, line {_line(content, location)}" if is_entry else f"in {path}"

    return Source(tree, path.parent.resolve(), place)


def _line(content: bytes, location: Location) -> int:
    """Return the line (from 1) of a setting, or of the last of its sections that is there.

    1 if none of them is there.
    """
    node, line = yaml.compose(content, _StrictLoader), 1
    for step in location:
        found = None
        if isinstance(node, yaml.MappingNode):
            found = next((pair for pair in node.value if pair[0].value == step), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            found = (node.value[step],) * 2 if step < len(node.value) else None
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line


class _StrictLoader(yaml.SafeLoader):
    """YAML without repeated names, which hide a value, and without aliases, which can explode."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.get_mark()
            raise yaml.MarkedYAMLError(problem="aliases are not read here", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                raise _at(key, "a name is text")
            if key.value in names:
                raise _at(key, f"{shown(key.value)} stands here twice")
            names.add(key.value)
        return super().construct_mapping(node, deep)


def _at(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _yaml(content: bytes, path: Path) -> Any:
    try:
        return yaml.load(content, _StrictLoader)  # noqa: S506  a stricter safe loader
    except yaml.MarkedYAMLError as cause:
        line = f", line {cause.problem_mark.line + 1}" if cause.problem_mark else ""
        raise BadInput("--config", f"{path}{line}: {cause.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise BadInput("--config", f"{path}: it is not YAML") from None


def _json_or_text(text: str) -> Any:
    if text[:1] in {"[", "{"}:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            pass  # [::1]:9191 is text; validation refuses a broken list
    return text
