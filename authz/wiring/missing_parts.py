"""Stand-ins for parts of several partitions: in a long process, and of work to come."""

from collections.abc import Mapping
from typing import Any, NoReturn

from authz.core.errors import BadInput, Unavailable
from authz.wiring.missing_part import MissingPart


def refuse_several(count: int, what: str = "this") -> NoReturn:
    """Raise BadInput: this work does not know partitions yet. count: how many there are."""
    problem = f"{count}: {what} does not work with several partitions yet"
    raise BadInput("redis.partitions", problem)


class LivePart:
    """A part of a partition of a long process: while the partition is missing, it refuses."""

    def __init__(self, part: object, at: int, missing: Mapping[int, Unavailable]) -> None:
        self._part = part
        self._at = at
        self._missing = missing

    def __getattr__(self, name: str) -> Any:
        """Return the attribute of the part, or a method that raises Unavailable."""
        if self._at in self._missing:
            return getattr(MissingPart(self._missing[self._at]), name)
        return getattr(self._part, name)
