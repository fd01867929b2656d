"""Ask several partitions of the store at once, and name the one that fails."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from authz.core.errors import Unavailable

K = TypeVar("K")
T = TypeVar("T")


async def ask(partition: int, answer: Awaitable[T]) -> T:
    """Return the awaited answer of a partition. An Unavailable that it raises names it."""
    try:
        return await answer
    except Unavailable as cause:
        cause.args = (f"partition {partition}: {cause}",)
        raise


async def ask_all(answers: Sequence[Awaitable[T]]) -> list[T]:
    """Return the answer of each partition, in order. All are asked at once.

    Raises the first fault, once all have ended.
    """
    outcomes = await asyncio.gather(
        *(ask(partition, answer) for partition, answer in enumerate(answers)),
        return_exceptions=True,
    )
    found: list[T] = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        found.append(outcome)
    return found


async def ask_each(
    things: Sequence[K],
    homes: Sequence[int],
    read: Callable[[int, Sequence[K]], Awaitable[Sequence[T]]],
) -> list[T]:
    """Return an answer for each thing, in order, from its partition.

    homes: the partition of each thing. read: gets a partition and its things, and returns their
    answers in this order. Raises as `ask_all`.
    """
    places = places_of(homes)
    outcomes = await asyncio.gather(
        *(ask(at, read(at, [things[place] for place in own])) for at, own in places.items()),
        return_exceptions=True,
    )
    found: dict[int, T] = {}
    for own, outcome in zip(places.values(), outcomes, strict=True):
        if isinstance(outcome, BaseException):
            raise outcome
        found |= zip(own, outcome, strict=True)
    return [found[place] for place in range(len(things))]


def places_of(homes: Iterable[int]) -> dict[int, list[int]]:
    """Return the places of the things of each partition. homes: the partition of each thing."""
    places: dict[int, list[int]] = {}
    for place, home in enumerate(homes):
        places.setdefault(home, []).append(place)
    return places
