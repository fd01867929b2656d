"""Parsers of settings, made from the annotations of the sections.

`Annotated[T, Read(parse), check]` is a setting whose value `parse` reads and `check` then accepts,
refuses or replaces. Without Read, the value is read as T: a number, true or false, text, a word, a
list, names with values, or a section.
"""

import math
import sys
import types
from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin

from authz.settings.sources import Location

Parser = Callable[[Any], Any]
"""Turns a value of a source into that of a setting. Raises ValueError with the problem."""

_TRUE: Final = frozenset(("true", "t", "yes", "y", "on", "1"))
_FALSE: Final = frozenset(("false", "f", "no", "n", "off", "0"))
_MAX_DIGITS: Final = 40  # of a number as text
_Items = TypeVar("_Items", bound=Sized)


class Refused(ValueError):  # noqa: N818  a refusal of values, as ValueError is of one
    """The mistakes in a value: the location of each below the value, and its problem."""

    def __init__(self, mistakes: list[tuple[Location, str]]) -> None:
        super().__init__("; ".join(problem for _, problem in mistakes))
        self.mistakes = mistakes

    @classmethod
    def whole(cls, problem: str) -> "Refused":
        """Return the refusal of a whole value."""
        return cls([((), problem)])


@dataclass(frozen=True, slots=True)
class Read:
    """Marks the function that reads the values of a type."""

    parse: Parser


@dataclass(frozen=True, slots=True)
class Between:
    """Refuses numbers below `least` or above `most`. None: no bound."""

    least: float | None = None
    most: float | None = None

    def __call__(self, number: float) -> float:
        """Return the number. Raises ValueError if it is out of bounds."""
        if self.least is not None and number < self.least:
            raise ValueError(f"has to be greater than or equal to {self.least}")
        if self.most is not None and number > self.most:
            raise ValueError(f"has to be less than or equal to {self.most}")
        return number


@dataclass(frozen=True, slots=True)
class AtMost:
    """Refuses more than `most` items."""

    most: int

    def __call__(self, items: _Items) -> _Items:
        """Return the items. Raises ValueError if there are too many."""
        if len(items) > self.most:
            raise ValueError(f"has to have at most {self.most} items, not {len(items)}")
        return items


def parser_of(kind: Any) -> Parser:
    """Return the parser of an annotation."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _steps(arguments[0], kind.__metadata__)
    if origin is Literal:
        return partial(_word, arguments)
    if origin is tuple:
        return partial(_list, parser_of(arguments[0]))
    if origin is dict:
        return partial(_names, *map(parser_of, arguments))
    if origin in {Union, types.UnionType}:
        [one] = (each for each in arguments if each is not types.NoneType)
        return parser_of(one)  # null never comes here: it keeps the default
    if kind in _PLAIN:
        return _PLAIN[kind]
    parse: Parser = kind.parse  # of a section
    return parse


def _steps(kind: Any, metadata: tuple[Any, ...]) -> Parser:
    readers = [each.parse for each in metadata if isinstance(each, Read)]
    steps = [*(readers or [parser_of(kind)]), *(c for c in metadata if not isinstance(c, Read))]
    return steps[0] if len(steps) == 1 else partial(_all, steps)


def _all(steps: list[Parser], value: Any) -> Any:
    for step in steps:
        value = step(value)
    return value


def _word(words: tuple[str, ...], value: Any) -> str:
    if isinstance(value, str) and value in words:
        return value
    *others, last = map(repr, words)
    raise ValueError(f"has to be {', '.join(others)}{' or ' if others else ''}{last}")


def _list(parse: Parser, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise Refused.whole('a list; in the environment as JSON, such as ["x-api-key"]')
    return tuple(each_of(enumerate(value), parse).values())


def _names(parse_name: Parser, parse: Parser, value: Any) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise Refused.whole("names, each with its value; in the environment as JSON")
    names = each_of(((name, name) for name in value), parse_name)
    found = each_of(value.items(), parse)
    return {names[name]: each for name, each in found.items()}


def each_of(values: Any, parse: Parser) -> dict[Any, Any]:
    """Return the parsed values of pairs of a step and a value. Raises Refused with all mistakes."""
    found, mistakes = {}, []
    for step, value in values:
        try:
            found[step] = parse(value)
        except ValueError as cause:
            mistakes += below(step, cause)
    if mistakes:
        raise Refused(mistakes)
    return found


def below(step: int | str, cause: ValueError) -> list[tuple[Location, str]]:
    """Return the mistakes of a value with their locations below its section or list."""
    if isinstance(cause, Refused):
        return [((step, *location), problem) for location, problem in cause.mistakes]
    return [((step,), str(cause))]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Refused.whole("text, one line")
    return value


def _truth(value: Any) -> bool:
    text = str(value).lower() if isinstance(value, bool | int | str) else ""
    if text not in _TRUE | _FALSE:
        raise ValueError("true or false")
    return text in _TRUE


def _whole(value: Any) -> int:
    number = _numeric(value)
    if number is None or number != int(number):
        raise ValueError("a whole number, such as 100000")
    return int(number)


def _number(value: Any) -> float:
    number = _numeric(value)
    if number is None or abs(number) > sys.float_info.max:
        raise ValueError("a number, such as 0.5")
    return float(number)


def _numeric(value: Any) -> int | float | None:
    """Return a number, also from text; None if it is none, or infinite."""
    if isinstance(value, str) and value.isascii() and len(value) <= _MAX_DIGITS:
        for read in (int, float):
            try:
                value = read(value)
            except ValueError:
                continue
            break
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None


_PLAIN: Final[dict[Any, Parser]] = {bool: _truth, int: _whole, float: _number, str: _text}
