"""A real server with several partitions."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace

from authz.core.partitions import Partitions
from authz.storage.keys import StoredKeys
from authz.storage.moved import StoredMoved
from authz.wiring.store_parts import StoreParts
from tests.support.real import Valkey

COUNT = 8
CLIENT = "acme-web"  # of the records that tests make


@asynccontextmanager
async def parts_of(valkey: Valkey, count: int = COUNT) -> AsyncIterator[StoreParts]:
    """Yield the partitions of an installation on this server."""
    async with AsyncExitStack() as stack:
        endpoints = replace(valkey.endpoint, count=count).partitions()
        clients = [await stack.enter_async_context(aclosing(one.client())) for one in endpoints]
        stores = tuple(map(StoredKeys, clients))
        yield StoreParts(Partitions(count), tuple(clients), stores, {})


async def lead_home(
    parts: StoreParts, kids: Iterable[str], *, client: str = CLIENT, project: str = ""
) -> None:
    """Make these kids lead to the home of a client or project, as those of moved keys."""
    home = parts.partitions.home(client, project)
    for kid in kids:
        at = parts.partitions.of(kid)
        if at != home:
            await StoredMoved(parts.clients[at]).save({kid: home})


def beside(kid: str, text: str) -> str:
    """Return a kid that begins as `text`, in the partition of `kid`, whatever their number."""
    home = Partitions(48).of(kid)
    found = (f"{text[:13]}{number:03}" for number in range(1000))
    return next(one for one in found if Partitions(48).of(one) == home)
