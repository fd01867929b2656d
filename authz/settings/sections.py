"""A section of settings: validation, error messages and relative paths."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any, Final, TypeVar, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError, model_validator
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from authz.core.errors import BadInput, BadSettings
from authz.core.listen_address import Address
from authz.settings import sources
from authz.settings.sources import Location, Source

# No other package may see the settings. And to look for plugins, pydantic reads a file of each
# installed package.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


class Section(BaseModel):
    """A section of the settings. Immutable. Unknown names are errors.

    A known name with the value null keeps its default. The validator of a section is built when
    it first reads a value, so a command does not wait for those of the sections it does not read.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, defer_build=True
    )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema of the section.

        As a field of another section it is a call of this section's own validator.
        """
        if handler.field_name is None:
            return handler(source)
        return core_schema.no_info_plain_validator_function(cls.model_validate)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        known = cls.model_fields
        return {name: v for name, v in given.items() if v is not None or name not in known}


_Sections = TypeVar("_Sections", bound=Section)


def read(kind: type[_Sections], layers: Sequence[Source]) -> _Sections:
    """Return the merged settings of all layers, with absolute paths. The first layer wins.

    `layers` must not be empty. Raises BadSettings, a BadInput with one mistake for each setting.
    """
    tree = reduce(sources.merged, (source.tree for source in layers))
    try:
        settings = kind.model_validate(tree)
    except ValidationError as cause:
        raise BadSettings(_explained(cause, kind, layers)) from None
    return _anchored(settings, layers)


# Messages for pydantic's errors, by error type or by its first word.
_MESSAGES: Final = {
    "bool": "true or false",
    "float": "a number, such as 0.5",
    "dict": "names, each with its value; in the environment as JSON",
    "int": "a whole number, such as 100000",
    "missing": "is needed here",
    "model": "a section: names and values",
    "string": "text, one line",
    "too_short": "a list of at least one",
    "tuple": 'a list; in the environment as JSON, such as ["x-api-key"]',
}


def _explained(
    cause: ValidationError, kind: type[Section], layers: Sequence[Source]
) -> list[BadInput]:
    """Return the first mistake of each setting, in the order of the model."""
    found: dict[str, BadInput] = {}
    for error in cause.errors(include_url=False, include_context=False):
        mistake = _mistake(error, kind, layers)
        found.setdefault(mistake.field, mistake)
    return list(found.values())


def _mistake(error: ErrorDetails, kind: type[Section], layers: Sequence[Source]) -> BadInput:
    location = error["loc"]
    problem = error["msg"].removeprefix("Value error, ").replace("Input should be", "has to be")
    if error["type"] == "extra_forbidden":
        problem = f"no such setting; there are {', '.join(_section(kind, location).model_fields)}"
    problem = _MESSAGES.get(error["type"].partition("_")[0], problem)
    problem = _MESSAGES.get(error["type"], problem)
    place = sources.origin(layers, location).name(location)
    return BadInput(sources.dotted(location), f"{problem} ({place})")


def _section(section: type[Section], location: Location) -> type[Section]:
    """Return the section class that holds the setting at `location`, below `section`.

    The names of a dict and the numbers of a list are steps of the location, too.
    """
    steps = iter(location[:-1])
    for step in steps:
        if isinstance(step, str):
            kind = section.model_fields[step].annotation
            section = next(filter(_is_section, (kind, *get_args(kind))))
            if get_origin(kind) is dict:
                next(steps, None)
    return section


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


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
                update = {name: anchored(value, (*at, name)) for name, value in part}
                copy = part.model_copy(update=update)
                copy.model_fields_set.intersection_update(part.model_fields_set)
                return copy
        return part

    return cast("_Sections", anchored(settings, ()))
