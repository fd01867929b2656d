"""Stand-ins for the parts of a partition that cannot be used, and of work to come."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from authz.core.errors import BadInput, Unavailable


def refuse_several(count: int, what: str = "this") -> NoReturn:
    """Raise BadInput: this work does not know partitions yet. count: how many there are."""
    problem = f"{count}: {what} does not work with several partitions yet"
    raise BadInput("redis.partitions", problem)


class Refused:
    """The answer of a partition that cannot be used: awaited or iterated, it raises the cause."""

    def __init__(self, cause: str) -> None:
        self._cause = cause

    def __await__(self) -> Iterator[Any]:
        """Raise Unavailable."""
        raise Unavailable(self._cause)

    def __aiter__(self) -> "Refused":
        """Return this, whose first item raises."""
        return self

    async def __anext__(self) -> Any:
        """Raise Unavailable."""
        raise Unavailable(self._cause)


class MissingPart:
    """Stands for each part of a partition that cannot be used: its methods raise the cause."""

    def __init__(self, cause: Unavailable) -> None:
        self._cause = str(cause)

    def __getattr__(self, name: str) -> Callable[..., Refused]:
        """Return a method that raises Unavailable."""
        del name
        return lambda *_any, **_named: Refused(self._cause)


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
