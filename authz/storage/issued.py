"""How many charge ids the sidecars have given out, for a reader that counts those that arrive."""

from typing import Any, Final

import redis.asyncio
from redis import exceptions

from authz.core.errors import Unavailable
from authz.core.sidecars import Issued
from authz.storage import schema
from authz.storage.refusals import refusal
from authz.storage.registry import StoredSidecars

MAX_MEMBERS: Final = 10_000
MAX_DIGITS: Final = 15


class StoredIssued:
    """Reads how many charge ids each process has given out.

    It finds processes that run, that were killed, and that ended in good order.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._names = schema.names_of(client)
        self._sidecars = StoredSidecars(client)

    async def find(self) -> list[Issued]:
        """Return one entry for each process of about the last day, sorted by prefix.

        At most the latest 10,000 processes that ended. Unreadable entries and processes without
        charge ids are left out. Raises Unavailable.
        """
        _, heard = await self._sidecars.find()
        found = {
            one.sidecar.charges: Issued(
                one.sidecar.charges, one.sidecar.instance, one.sidecar.issued, ended=False
            )
            for one in heard
            if one.sidecar.charges
        }
        try:
            client: Any = self._client
            members = await client.zrevrange(self._names.issued, 0, MAX_MEMBERS - 1)
        except (exceptions.RedisError, OSError) as cause:
            raise Unavailable(f"the store cannot be used: {refusal(cause)}") from None
        for member in members:
            final = _final(member)
            if final:
                found[final.charges] = final
        return [found[charges] for charges in sorted(found)]


def _final(member: str) -> Issued | None:
    charges, _, rest = member.partition(" ")
    count, _, instance = rest.partition(" ")
    is_number = count.isascii() and count.isdecimal() and len(count) <= MAX_DIGITS
    if not (charges and is_number and instance and instance.isprintable()):
        return None
    return Issued(charges, instance, int(count), ended=True)
