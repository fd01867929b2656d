"""HourlyPlaces: the bound on the keys that are ended or rotated in an hour without a person."""

from collections.abc import Sequence
from typing import Protocol


class HourlyPlaces(Protocol):
    """Gives keys a place each. Keeps the places of the last hour."""

    async def take_places(self, kids: Sequence[str], ms: int, limit: int) -> frozenset[str]:
        """Take a place for each key, for `ms`, and return the keys that have one.

        There are `limit` places; the first keys in order get them. A key that has a place needs no
        other one. The bound MUST hold for all processes together, also if their clocks differ.
        Raises Unavailable.
        """
        ...
