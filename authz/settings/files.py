"""Settings files in YAML: strict reading, and the lines of settings for error messages."""

import errno
import os
import stat
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.cyaml import CParser  # type: ignore[attr-defined]
from yaml.resolver import Resolver

from authz.core.errors import BadInput
from authz.core.fields import shown
from authz.process.nested_yaml import MAX_DEPTH, TOO_DEEP
from authz.settings.includes import KEYS
from authz.settings.sources import Location, Source

_OF_A_SHELL: Final = ("/dev/", "/proc/")
MAX_FILE: Final = 1 << 20
MAX_INCLUDED: Final = 16 << 20  # it may hold all keys of a store


def read(path: Path) -> Source:
    """Return the settings of a YAML file; none for an empty file.

    Raises BadInput about `--config` if it is unreadable, longer than MAX_FILE bytes, not YAML, not
    sections, or has aliases or a name twice. A pipe has to be one that a shell made: a sidecar
    reads the file at each reload, and must not wait for a named one.
    """
    content = _content("--config", path, MAX_FILE, _regular_or_of_a_shell)
    return _source("--config", content, path, _StrictLoader)


def read_included(field: str, path: Path) -> Source:
    """Return the settings of a file that may also hold keys. The value of each of KEYS is None.

    The errors are those of `read`, about `field`. It may have MAX_INCLUDED bytes, and must be a
    regular file: a sidecar reads it again at each reload, and must not wait for a pipe.
    """
    return parse_included(field, _content(field, path, MAX_INCLUDED, _regular), path)


def parse_included(field: str, content: bytes, path: Path) -> Source:
    """Return the settings in the content of a file that may also hold keys: None for each of KEYS.

    Raises BadInput about `field` if it is not YAML, not sections, or has aliases or a name twice.
    path: for messages, and the base of relative paths is its directory.
    """
    return _source(field, content, path, _SkippingLoader)


def _regular(name: str, flags: int) -> int:
    """Open a file or a directory, and return its descriptor.

    Raises OSError for a pipe, a socket or a device, and never waits for one.
    """
    descriptor = os.open(name, flags | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(descriptor).st_mode) or stat.S_ISDIR(os.fstat(descriptor).st_mode):
        return descriptor  # `open` refuses a directory itself
    os.close(descriptor)
    raise OSError(errno.EINVAL, "not a regular file")


def _regular_or_of_a_shell(name: str, flags: int) -> int:
    """Open a file as `_regular`, or a pipe or device that a shell names, such as /dev/fd/63."""
    if name.startswith(_OF_A_SHELL):
        return os.open(name, flags)
    return _regular(name, flags)


def _content(
    field: str, path: Path, most: int, opener: Callable[[str, int], int] | None = None
) -> bytes:
    try:
        with open(path, "rb", opener=opener) as opened:
            content = opened.read(most + 1)
    except (OSError, ValueError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else "not a file name"
        raise BadInput(field, f"{path}: {reason}") from None
    if len(content) > most:
        raise BadInput(field, f"{path}: settings have at most {most} bytes")
    return content


def _source(field: str, content: bytes, path: Path, loader: Callable[[bytes], Any]) -> Source:
    tree = _yaml(field, path, lambda: _loaded(loader(content)))
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise BadInput(field, f"{path}: settings are sections, such as `check:`")

    @cache
    def root() -> yaml.Node | None:
        return cast("yaml.Node | None", loader(content).get_single_node())

    return Source(
        tree,
        path.parent.resolve(),
        lambda location: f"in {path}, line {_line(root(), location)}",
    )


def _loaded(loader: Any) -> Any:
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _line(node: yaml.Node | None, location: Location) -> int:
    """Return the line (from 1) of a setting, or of the last of its sections that is there.

    1 if none of them is there.
    """
    line = 1
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


class _Strict:
    """YAML without repeated names, which hide a value, and without aliases, which can explode."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        ours: Any = self
        if ours.check_event(yaml.AliasEvent):
            mark = ours.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="aliases are not read here", problem_mark=mark)
        return super().compose_node(parent, index)  # type: ignore[misc]

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                raise _at(key, "a name is text")
            if key.value in names:
                raise _at(key, f"{shown(key.value)} stands here twice")
            names.add(key.value)
        return super().construct_mapping(node, deep)  # type: ignore[misc]


class _StrictLoader(_Strict, yaml.SafeLoader):
    """Strict, with PyYAML's own messages, which name what was found."""


class _SkippingLoader(_Strict, Composer, CParser, SafeConstructor, Resolver):
    """Strict, and skips the values of KEYS: nothing of a long list of keys stays in memory."""

    def __init__(self, content: bytes) -> None:
        CParser.__init__(self, content)
        Composer.__init__(self)
        SafeConstructor.__init__(self)
        Resolver.__init__(self)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        is_top = self._depth == 1 and isinstance(index, yaml.ScalarNode)
        if is_top and index.value in KEYS:
            return self._skipped(index)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def _skipped(self, index: yaml.ScalarNode) -> yaml.ScalarNode:
        depth, mark = 0, index.end_mark
        while True:
            event = self.get_event()
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise yaml.MarkedYAMLError(problem=TOO_DEEP, problem_mark=mark)
            if not depth:
                return yaml.ScalarNode("tag:yaml.org,2002:null", "", mark, mark)


def _at(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _yaml(field: str, path: Path, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except yaml.MarkedYAMLError as cause:
        line = f", line {cause.problem_mark.line + 1}" if cause.problem_mark else ""
        raise BadInput(field, f"{path}{line}: {cause.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise BadInput(field, f"{path}: it is not YAML") from None
