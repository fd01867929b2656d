"""MissingPart: stands for the parts of a partition that cannot be used."""

from collections.abc import Callable, Iterator
from typing import Any

from authz.core.errors import Unavailable


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
