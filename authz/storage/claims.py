"""StoredClaims: the partition that is about to have an imported key, noted at its digests."""

from collections.abc import Sequence
from typing import Final

import redis.asyncio

from authz.core.errors import Unavailable
from authz.core.import_claims import Claim
from authz.storage import schema
from authz.storage.replies import checked
from authz.storage.scripts import script

CLAIM_DIGESTS: Final = script("claim_digests")


class StoredClaims:
    """A ClaimStore over redis-py: a string with a time to live for each digest."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._names = schema.names_of(client)
        self._claim = client.register_script(CLAIM_DIGESTS)

    async def claim(self, claims: Sequence[Claim], seconds: int) -> list[int]:
        """Implement ClaimStore.claim. Raises Unavailable."""
        try:
            return list(map(int, await self._call(claims, seconds)))
        except (TypeError, ValueError):
            raise Unavailable("a claim of an imported key is garbled") from None

    async def give_up(self, claims: Sequence[Claim]) -> None:
        """Implement ClaimStore.give_up. Raises Unavailable."""
        await self._call(claims, 0)

    async def _call(self, claims: Sequence[Claim], seconds: int) -> list[str]:
        names = [self._names.claim(one.digest) for one in claims]
        found: list[str] = await checked(
            self._claim(keys=names, args=[seconds, *(one.home for one in claims)])
        )
        return found
