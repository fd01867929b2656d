"""BoundedDict: a dict with a bound on its entries; the oldest one makes room."""

from collections import OrderedDict
from typing import TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")


class BoundedDict(OrderedDict[_K, _V]):
    """At most `most` entries. Only `put` enforces the bound.

    An OrderedDict, because removing the oldest entries of a plain dict takes longer each time.
    """

    __slots__ = ("_most",)

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def put(self, key: _K, value: _V) -> None:
        """Set `key` as the newest entry; the oldest one makes room.

        A known key is replaced, becomes the newest and needs no room.
        """
        self.pop(key, None)
        if len(self) >= self._most:
            self.popitem(last=False)
        self[key] = value
