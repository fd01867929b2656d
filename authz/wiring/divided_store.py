"""The partitions of a store, with a client of each, for commands and the admin API."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar, cast

from authz.core.errors import Unavailable
from authz.core.partitions import Partitions
from authz.core.ports import Clock
from authz.process.clock import SystemClock
from authz.storage.endpoint import Client
from authz.storage.keys import StoredKeys
from authz.wiring.missing_parts import LivePart, MissingPart, refuse_several

if TYPE_CHECKING:  # a command imports only what it uses
    from authz.core.declared_changes import AsOf
    from authz.flows.partitioned.places import Places

S = TypeVar("S")
J = TypeVar("J")


@dataclass(frozen=True)
class DividedStore:
    """The partitions of the store, in order. Those that could be read are ours.

    clients, stores: one for each. missing: the cause why a partition cannot be used, by its number.
    is_live: `missing` changes, in a long process. may_have_moved: returns whether a partition may
    have moved keys; by default as its store was verified.
    """

    partitions: Partitions
    clients: tuple[Client, ...]
    stores: tuple[StoredKeys, ...]
    missing: Mapping[int, Unavailable]
    clock: Clock = field(default_factory=SystemClock)
    is_live: bool = False
    may_have_moved: Callable[[int], bool] | None = None

    @property
    def only(self) -> Client:
        """The client of a store with one partition, for work that knows no partitions.

        Raises BadInput if there are several.
        """
        if self.partitions.count > 1:
            refuse_several(self.partitions.count)
        return self.clients[0]

    def each(self, make: Callable[[Client], S]) -> Sequence[S]:
        """Return a part of each partition, or what stands for it if it cannot be used."""
        return self._usable([make(client) for client in self.clients])

    def at_first(self, make: Callable[[Client], S]) -> S:
        """Return the part of partition 0, which has all that belongs to no key."""
        return self._usable([make(self.clients[0])])[0]

    def joined(self, parts: Sequence[S], join: "Callable[[Places, Sequence[S]], J]") -> S | J:
        """Return the part of the only partition, or what `join` makes of those of several."""
        return parts[0] if len(parts) == 1 else join(self.places, parts)

    def _usable(self, parts: Sequence[S]) -> Sequence[S]:
        if self.is_live:
            return [cast("S", LivePart(part, at, self.missing)) for at, part in enumerate(parts)]
        if not self.missing:
            return parts
        return [
            cast("S", MissingPart(self.missing[at])) if at in self.missing else part
            for at, part in enumerate(parts)
        ]

    @cached_property
    def places(self) -> "Places":
        """The partition of each key."""
        from authz.flows.partitioned.places import Places  # noqa: PLC0415
        from authz.storage.moved import StoredMoved  # noqa: PLC0415

        def may_have_moved(at: int) -> bool:
            return self.stores[at].may_have_moved

        # They are kept, and `missing` may change.
        parts = [
            cast("StoredMoved", LivePart(StoredMoved(client), at, self.missing))
            for at, client in enumerate(self.clients)
        ]
        return Places(self.partitions, parts, self.may_have_moved or may_have_moved)

    @property
    def first(self) -> Client:
        """The client of partition 0, which has all that belongs to no key. Raises as `client`."""
        return self.client(0)

    def client(self, at: int) -> Client:
        """Return the client of a partition. Raises Unavailable if that cannot be used."""
        if at in self.missing:
            raise Unavailable(f"partition {at}: {self.missing[at]}")
        return self.clients[at]

    async def peppers(self) -> dict[str, str]:
        """Return the fingerprints of peppers by version, which all partitions have in common.

        Raises Unavailable.
        """
        return await next(
            store for at, store in enumerate(self.stores) if at not in self.missing
        ).peppers()

    async def sequence(self) -> "AsOf":
        """Return the number of the last change, of each partition if there are several.

        Raises Unavailable.
        """
        found = [await store.sequence() for store in self._usable(self.stores)]
        return found[0] if len(found) == 1 else tuple(found)

    async def has_imports(self) -> bool:
        """Return whether keys may have been imported. Raises Unavailable."""
        return any([await store.has_imports() for store in self._usable(self.stores)])
