"""Included files: plans, pools, prices and routes in files of their own, or beside keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from authz.core.errors import BadInput
from authz.settings.sources import Location, Source, dotted, origin

KEYS: Final = ("authz", "scope", "as_of", "keys")  # members of a file of keys
INCLUDE: Final = ("include",)
SECTIONS: Final = (
    *("plans", "pools", "prices"),
    *("routes", "routes_default", "routes_case", "routes_suffix"),
)
_NAMED: Final = {"plans": 1, "pools": 2}  # levels of names, which may come from several files


@dataclass(frozen=True, slots=True)
class Joined:
    """Sources with the included files. layers: the files together are the last of them.

    parts: the same with each file as a source of its own. mistakes: those of the included files;
    the wrong parts are left out of `layers`.
    """

    layers: Sequence[Source]
    parts: Sequence[Source]
    mistakes: Sequence[BadInput]


def included(layers: Sequence[Source]) -> list[Path]:
    """Return the paths that the first layer with `include` names; empty if there is no list."""
    owner = origin(layers, INCLUDE)
    given = owner.tree.get("include")
    if not isinstance(given, list):
        return []
    texts = [str(text) for text in given if isinstance(text, str | int | float)]
    return [owner.base / _path(text) for text in texts if text]


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # the home of an unknown user: validation refuses it
        return Path(text)


def join(layers: Sequence[Source], *, has_file: bool) -> Joined:
    """Read the included files, and join them with the settings file. Mistakes are in the result.

    has_file: the last layer is the settings file. Entries of `routes` follow in the order of the
    files; everything else may stand in one file only.
    """
    mistakes: list[BadInput] = []
    found: list[Source] = []
    if not included(layers):
        return Joined(layers, layers, mistakes)
    from authz.settings import files  # noqa: PLC0415  YAML takes long to import

    for at, path in enumerate(included(layers)):
        try:
            part = files.read_included(f"include.{at}", path)
        except BadInput as cause:
            mistakes.append(cause)
        else:
            found.append(checked(part, mistakes))
    if not found:
        return Joined(layers, layers, mistakes)
    above, below = (layers[:-1], layers[-1:]) if has_file else (layers, [])
    union = _Union([*below, *found], mistakes)
    last = Source(union.tree, (layers[-1]).base, union.name)
    return Joined([*above, last], [*above, *below, *found], mistakes)


def checked(part: Source, mistakes: list[BadInput]) -> Source:
    """Return the source of an included file, reduced to SECTIONS.

    Each name outside of SECTIONS and KEYS adds a mistake to `mistakes`.
    """
    for name in part.tree:
        if name in SECTIONS or name in KEYS:
            continue
        problem = f"only {', '.join(SECTIONS)} may stand in an included file"
        if name == "include":
            problem = "an included file includes no other; name it in the settings file"
        mistakes.append(BadInput(dotted((name,)), f"{problem} ({part.name((name,))})"))
    tree = {name: value for name, value in part.tree.items() if name in SECTIONS}
    return Source(tree, part.base, part.name)


class _Union:
    """The union of several files, and the origin of each setting in it.

    tree: the union. `plans` and `pools` are joined by name, and `routes` in the order of the files.
    Any other setting, or the same name, in two files keeps the first value and adds a mistake to
    `mistakes`.
    """

    def __init__(self, parts: Sequence[Source], mistakes: list[BadInput]) -> None:
        self.tree: dict[str, Any] = {}
        self._parts = parts
        self._mistakes = mistakes
        self._owners: dict[Location, tuple[Source, Location]] = {}
        for part in parts:
            self._add(part, self.tree, part.tree, ())

    def name(self, location: Location) -> str:
        """Return the origin of a setting, such as `in FILE, line 3`."""
        for length in range(len(location), 0, -1):
            if owner := self._owners.get(location[:length]):
                part, own = owner
                return part.name((*own, *location[length:]))
        return self._parts[0].name(location)

    def _add(self, part: Source, into: Any, given: Mapping[str, Any], above: Location) -> None:
        for name, value in given.items():
            at = (*above, name)
            before = into.get(name)
            if before is None:
                self._owners[at] = part, at
            if len(at) <= _NAMED.get(str(at[0]), 0) and isinstance(value, Mapping):
                if before is None:
                    before = into[name] = {}
                if isinstance(before, dict):
                    self._add(part, before, value, at)
                    continue
            if at == ("routes",) and isinstance(value, list) and isinstance(before or [], list):
                self._append(part, value)
            elif before is None:
                into[name] = value
            elif value is not None:
                there, here = self.name(at), part.name(at)
                problem = f"stands in two files: {there}, and {here}"
                self._mistakes.append(BadInput(dotted(at), problem))

    def _append(self, part: Source, routes: list[Any]) -> None:
        before = self.tree.get("routes") or []
        for at in range(len(routes)):
            self._owners["routes", len(before) + at] = part, ("routes", at)
        self.tree["routes"] = before + routes
