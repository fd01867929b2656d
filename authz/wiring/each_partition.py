"""Work that is done in one partition of the store after the other."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from authz.flows.partitioned.asking import ask
from authz.storage.endpoint import Client
from authz.wiring.store_parts import StoreParts

T = TypeVar("T")


async def in_each(parts: StoreParts, work: Callable[[Client], Awaitable[T]]) -> list[T]:
    """Return what `work` returns for the client of each partition, in order.

    Raises Unavailable before any work if a partition cannot be used. The work of later partitions
    is not begun after a fault. With several partitions an Unavailable names its partition.
    """
    clients = [parts.client(at) for at in range(len(parts.clients))]
    if len(clients) == 1:
        return [await work(clients[0])]
    return [await ask(at, work(client)) for at, client in enumerate(clients)]
