"""Places: the partition of a key of which only the kid is known.

A record lies in the home of its owner. The kid leads there, too, unless the key was made while the
store had one partition. Then the partition to which the kid leads names the other one. Such a key
is moved. An entry about it never changes, so it is remembered.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from authz.core.bounded import BoundedDict
from authz.core.partitions import Partitions
from authz.flows.partitioned.asking import ask_each

MOST: Final = 100_000  # moved keys that are remembered
FIRST: Final = 0  # the partition with the audit trail of the store with one partition


class MovedKeys(Protocol):
    """Knows the moved keys whose kids lead to one partition."""

    async def find(self, kids: Sequence[str]) -> Sequence[int | None]:
        """Return for each kid, in order, the partition of its key, or None if it is not moved.

        Also for a deleted key, and None for a kid without a key. Raises Unreadable for a spoiled
        entry, Unavailable if the store fails.
        """
        ...


class Places:
    """Finds the partition of keys. parts: of each partition.

    may_have_moved: returns whether the store of this partition may have moved keys. While it does
    not, nothing is asked.
    """

    def __init__(
        self,
        partitions: Partitions,
        parts: Sequence[MovedKeys],
        may_have_moved: Callable[[int], bool] = lambda _: True,
    ) -> None:
        self.partitions = partitions
        self._parts = parts
        self._may_have_moved = may_have_moved
        self._known: BoundedDict[str, int] = BoundedDict(MOST)

    @property
    def may_have_moved(self) -> bool:
        """Whether any key may be moved."""
        return any(map(self._may_have_moved, range(self.partitions.count)))

    async def of(self, kid: str) -> int:
        """Return the partition of the key with this kid, whether there is one or not.

        Raises Unavailable if the partition to which the kid leads cannot be asked, Unreadable if
        its entry is spoiled.
        """
        at = self.partitions.of(kid)
        if not self._may_have_moved(at):
            return at
        known = self._known.get(kid)
        return (await self.of_all([kid]))[0] if known is None else known

    async def of_all(self, kids: Sequence[str]) -> list[int]:
        """Return the partition of each of these keys, in order. Raises as `of`."""
        found = [self.partitions.of(kid) for kid in kids]
        asked = [
            place
            for place, kid in enumerate(kids)
            if self._may_have_moved(found[place]) and not self._is_known(kid, found, place)
        ]
        if not asked:
            return found
        answers = await ask_each(
            [kids[place] for place in asked],
            [found[place] for place in asked],
            lambda at, own: self._parts[at].find(own),
        )
        for place, answer in zip(asked, answers, strict=True):
            if answer is not None:
                self._known.put(kids[place], answer)
                found[place] = answer
        return found

    async def trails(self, kid: str) -> list[int]:
        """Return the partitions whose audit trails may have rows about the key, newest rows first.

        The rows of a store that had one partition lie in partition 0. Raises as `of`.
        """
        at = await self.of(kid)
        return [at] if at == FIRST or not self.may_have_moved else [at, FIRST]

    def note(self, kid: str, at: int) -> None:
        """Remember the partition of a key, which was found there."""
        if at != self.partitions.of(kid):
            self._known.put(kid, at)

    def _is_known(self, kid: str, found: list[int], place: int) -> bool:
        known = self._known.get(kid)
        if known is None:
            return False
        found[place] = known
        return True
