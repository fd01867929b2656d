"""A KeyIndex in memory, over records in a dictionary."""

from collections.abc import Mapping, Sequence

from authz.core.errors import Unreadable
from authz.core.records import KeyRecord
from authz.core.selector import Position
from authz.storage import encoding

Content = KeyRecord | Unreadable | None


class MemoryIndex:
    """A KeyIndex over `keys`, in order of creation, then of kid.

    stale: kids that the index of every client holds, whoever they belong to. read_kids: the kids
    that were read as a whole. asked: the count of each call of `kids`.
    """

    def __init__(self, keys: Mapping[str, Content], stale: frozenset[str] = frozenset()) -> None:
        self.keys = keys
        self.stale = stale
        self.read_kids: list[str] = []
        self.asked: list[int] = []

    async def kids(
        self,
        client_id: str | None,
        after: Position | None,
        count: int,
        *,
        is_newest_first: bool = False,
    ) -> Sequence[Position]:
        """Implement KeyIndex.kids. A key without a record was created at 0."""
        self.asked.append(count)
        places = sorted(
            Position(getattr(found, "created_at", 0), kid)
            for kid, found in self.keys.items()
            if self._is_of(client_id, kid, found)
        )
        if is_newest_first:
            places.reverse()
            return [place for place in places if after is None or place < after][:count]
        return [place for place in places if after is None or place > after][:count]

    async def read(self, kids: Sequence[str]) -> Sequence[Content]:
        """Implement KeyIndex.read."""
        self.read_kids += kids
        return [self.keys.get(kid) for kid in kids]

    async def texts(
        self, kids: Sequence[str], fields: Sequence[str]
    ) -> Sequence[Sequence[str | None]]:
        """Implement KeyIndex.texts."""
        return [[_text(self.keys.get(kid), name) for name in fields] for kid in kids]

    def _is_of(self, client_id: str | None, kid: str, found: Content) -> bool:
        owner = getattr(found, "client_id", client_id)
        return client_id is None or owner == client_id or kid in self.stale


def _text(found: Content, name: str) -> str | None:
    return encoding.encode(found)[name] if isinstance(found, KeyRecord) else None
