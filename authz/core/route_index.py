"""The templates of a route table, found by the literal segments of a path.

To compare a path with every template would take as long as there are rules. They are found by their
leading literals and, where many have the same ones, by all their segments without a variable.
"""

from collections.abc import Sequence
from typing import Final

from authz.core.templates import Template

FEW: Final = 16  # templates that are compared one after the other
LOOKUP_WORK: Final = 4  # of one shape, in the units of `work`

Shape = tuple[int, bool, tuple[int, ...]]  # number of segments, below, places of the literals


class RouteIndex:
    """Finds the templates that may match a path.

    work: what it takes at most to compare one path with those found. A segment is 1 unit, and each
    variable or literal between two variables 3 more: up to 0.1 us a unit.
    """

    def __init__(self, templates: Sequence[Template]) -> None:
        groups: dict[tuple[str, ...], list[int]] = {}
        for at, template in enumerate(templates):
            groups.setdefault(template.beginning, []).append(at)
        self._few = {name: found for name, found in groups.items() if len(found) <= FEW}
        self._many = {
            name: _Shapes(found, templates) for name, found in groups.items() if len(found) > FEW
        }
        self._depths = sorted(set(map(len, groups)))
        works = {
            name: sum(_work(templates[at]) for at in found) for name, found in self._few.items()
        }
        works |= {name: shapes.work for name, shapes in self._many.items()}
        self.work = max((_sum_above(name, works) for name in works), default=0)

    def find(self, segments: Sequence[str]) -> list[int]:
        """Return the indexes of the templates that may match these decoded segments, ascending.

        Every template that matches is among them. Most others are left out.
        """
        found: list[int] = []
        for depth in self._depths:
            if depth <= len(segments):
                beginning = tuple(segments[:depth])
                found += self._few.get(beginning, ())
                if beginning in self._many:
                    found += self._many[beginning].find(segments)
        found.sort()
        return found


class _Shapes:
    """Templates by their shape, and of each shape by their literals."""

    def __init__(self, positions: Sequence[int], templates: Sequence[Template]) -> None:
        self._shapes: dict[Shape, dict[tuple[str, ...], list[int]]] = {}
        for at in positions:
            parts = templates[at].decoded
            places = tuple(n for n, part in enumerate(parts) if len(part) == 1)
            literals = tuple(parts[place][0] for place in places)
            shape = (len(parts), templates[at].below, places)
            self._shapes.setdefault(shape, {}).setdefault(literals, []).append(at)
        self.work = sum(
            LOOKUP_WORK + max(sum(_work(templates[at]) for at in found) for found in same.values())
            for same in self._shapes.values()
        )

    def find(self, segments: Sequence[str]) -> list[int]:
        found: list[int] = []
        for (count, below, places), same in self._shapes.items():
            if len(segments) == count or (below and len(segments) > count):
                found += same.get(tuple(segments[place] for place in places), ())
        return found


def _work(template: Template) -> int:
    return sum(1 + 3 * (2 * len(part) - 3) if len(part) > 1 else 1 for part in template.decoded)


def _sum_above(name: tuple[str, ...], works: dict[tuple[str, ...], int]) -> int:
    return sum(works.get(name[:depth], 0) for depth in range(len(name) + 1))
