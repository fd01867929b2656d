"""ImportClaims: claims the digests of imported keys for their homes, see core/import_claims.py.

Rules:
1. The digests of a key are claimed one after the other, in their order. So of two imports of one
   key, one gets all of them.
2. What was claimed of a key stays claimed while another home has the rest, so `take` can be
   repeated.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress

from authz.core.changes import KeyChange
from authz.core.errors import Unavailable
from authz.core.import_claims import CLAIM_SECONDS, Claim, ClaimStore
from authz.core.partitions import Partitions
from authz.flows.partitioned.asking import ask_each


class ImportClaims:
    """Claims in all partitions. parts: of each, in order."""

    def __init__(self, partitions: Partitions, parts: Sequence[ClaimStore]) -> None:
        self._partitions = partitions
        self._parts = parts

    async def take(self, changes: Sequence[KeyChange]) -> list[int]:
        """Claim all digests of each change. Return the places of those that got them, in order.

        Each change needs a digest, and no two may share one. Raises Unavailable.
        """
        left = {place: self._claims_of(change) for place, change in enumerate(changes)}
        asking = set(left)
        while asking:
            asked = {place: left[place][0] for place in asking}
            holders = await ask_each(
                list(asked.values()), self._places(asked.values()), self._claim
            )
            for (place, one), holder in zip(asked.items(), holders, strict=True):
                if holder != one.home:
                    asking.discard(place)
                elif len(left[place]) > 1:
                    del left[place][0]
                else:
                    asking.discard(place)
                    del left[place]
        return [place for place in range(len(changes)) if place not in left]

    async def give_up(self, changes: Sequence[KeyChange]) -> None:
        """End the claims of these changes. After a failure they end by themselves."""
        ended = [claim for change in changes for claim in self._claims_of(change)]
        with suppress(Unavailable):
            await ask_each(ended, self._places(ended), self._end)

    def _claims_of(self, change: KeyChange) -> list[Claim]:
        home = self._partitions.home_of(change.record)
        return [Claim(digest, home) for digest in sorted(set(change.aliases))]

    def _places(self, claims: Iterable[Claim]) -> list[int]:
        return [claim.place(self._partitions.count) for claim in claims]

    async def _claim(self, at: int, claims: Sequence[Claim]) -> list[int]:
        return await self._parts[at].claim(claims, CLAIM_SECONDS)

    async def _end(self, at: int, claims: Sequence[Claim]) -> list[None]:
        await self._parts[at].give_up(claims)
        return [None] * len(claims)
