"""A section of settings: its fields, error messages and relative paths."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Self,
    TypeVar,
    cast,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from authz.core.errors import BadInput, BadSettings
from authz.core.listen_address import Address
from authz.settings import sources
from authz.settings.parsers import Parser, Refused, below, parser_of
from authz.settings.sources import Location, Source

REQUIRED: Final = object()


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a section. kind: its type. checks: what its annotation says beside the type.

    default: REQUIRED if it has none.
    """

    kind: Any
    checks: tuple[Any, ...]
    default: Any
    parse: Parser


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Section:
    """A section of the settings. Immutable.

    Subclasses declare each setting by an annotation and, unless it is required, a default.
    `parse` checks values. The constructor does not: it is for values that are known to be right.
    The parsers of a section are made when it first reads a value, so a command does not wait for
    those of the sections that nobody sets.
    """

    names: ClassVar[tuple[str, ...]] = ()
    _settings: ClassVar[Mapping[str, Setting]]

    def __init_subclass__(cls) -> None:
        cls.names = tuple(name for name in cls.__annotations__ if not name.startswith("_"))

    def __init__(self, **values: Any) -> None:
        vars(self).update(values)

    @classmethod
    def parse(cls, given: Any) -> Self:
        """Return the section with these values, each checked.

        A known name with the value null keeps its default. Raises Refused with the mistakes of all
        settings, or ValueError if their values do not go together.
        """
        if isinstance(given, cls):
            return given
        if not isinstance(given, Mapping):
            raise Refused.whole("a section: names and values")
        values: dict[str, Any] = {}
        mistakes: list[tuple[Location, str]] = []
        for name, setting in cls.settings().items():
            value = given.get(name)
            if value is None:
                if setting.default is REQUIRED:
                    mistakes.append(((name,), "is needed here"))
                continue
            try:
                values[name] = setting.parse(value)
            except ValueError as cause:
                mistakes += below(name, cause)
        there_are = f"no such setting; there are {', '.join(cls.names)}"
        mistakes += [((name,), there_are) for name in given if name not in cls.names]
        if mistakes:
            raise Refused(mistakes)
        section = cls(**values)
        section.check_together()
        return section

    @classmethod
    def settings(cls) -> Mapping[str, Setting]:
        """Return the settings by name, in order."""
        if "_settings" not in vars(cls):
            cls._settings = _settings(cls)
        return cls._settings

    def check_together(self) -> None:
        """Raise ValueError if values that are valid alone do not go together."""

    def changed(self, **changes: Any) -> Self:
        """Return a copy with other values, which are not checked."""
        return type(self)(**(vars(self) | changes))

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return ((name, getattr(self, name)) for name in self.names)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash((type(self), tuple(self)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self)})"


def _settings(section: type[Section]) -> dict[str, Setting]:
    hints = get_type_hints(section, include_extras=True)
    found = {}
    for name in section.names:
        kind, checks = hints[name], ()
        if get_origin(kind) is Annotated:
            kind, checks = get_args(kind)[0], kind.__metadata__
        default = getattr(section, name, REQUIRED)
        found[name] = Setting(kind, checks, default, parser_of(hints[name]))
    return found


_Sections = TypeVar("_Sections", bound=Section)


def read(kind: type[_Sections], layers: Sequence[Source]) -> _Sections:
    """Return the merged settings of all layers, with absolute paths. The first layer wins.

    `layers` must not be empty. Raises BadSettings, a BadInput with one mistake for each setting.
    """
    tree = reduce(sources.merged, (source.tree for source in layers))
    try:
        settings = kind.parse(tree)
    except Refused as cause:
        raise BadSettings(_explained(cause, layers)) from None
    return _anchored(settings, layers)


def _explained(cause: Refused, layers: Sequence[Source]) -> list[BadInput]:
    """Return the first mistake of each setting, in the order of the model."""
    found: dict[str, BadInput] = {}
    for location, problem in cause.mistakes:
        place = sources.origin(layers, location).name(location)
        name = sources.dotted(location)
        found.setdefault(name, BadInput(name, f"{problem} ({place})"))
    return list(found.values())


def _anchored(settings: _Sections, layers: Sequence[Source]) -> _Sections:
    """Return a copy in which relative paths are absolute, each from the base of its source.

    A path that no source gives (a default) starts at the base of the last layer.
    """

    def base(at: Location) -> Path:
        return next((source for source in layers if source.holds(at)), layers[-1]).base

    def anchored(part: Any, at: Location) -> Any:
        match part:
            case Path():
                return base(at) / part
            case Address() if part.path:
                return replace(part, path=str(base(at) / part.path))
            case tuple():
                return tuple(anchored(item, (*at, index)) for index, item in enumerate(part))
            case dict():
                return {name: anchored(value, (*at, name)) for name, value in part.items()}
            case Section():
                return part.changed(**{name: anchored(value, (*at, name)) for name, value in part})
        return part

    return cast("_Sections", anchored(settings, ()))
