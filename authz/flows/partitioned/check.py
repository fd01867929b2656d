"""PartitionedChecker: gives each request to the checker of the partition of its key.

Rules:
1. The kid names the partition. A request without a key, or with text of no form, goes to the first.
2. A token is accepted with the signing keys in the first partition, then judged in the partition
   of its key. A signing key may have been taken out while the first partition is not trusted. So a
   token is accepted for the grace after that trust, as a cached record is, and no longer.
3. A moved key lies in another partition than its kid names. The first time, that partition is
   asked for the record, finds none, and says where it lies. This is remembered. If it cannot be
   asked, a cache that has the record shows where it lies. No refusal is counted meanwhile.
4. The text of an imported key names no partition. Each that may have it is asked, first those that
   are known to have its digest. The answer is "no such key" only if all of them say so: a partition
   that cannot be asked may have the key. Where a key was found is remembered, so a cache hit asks
   one partition.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from authz.core.bounded import BoundedDict
from authz.core.decision import Decision, Deny
from authz.core.errors import Elsewhere, Unavailable
from authz.core.keys.credentials import Imported, Presented
from authz.core.partitions import Partitions
from authz.core.request import Request
from authz.core.tokens.presented import AcceptedToken, PresentedToken
from authz.flows.answers import MALFORMED, UNAVAILABLE, UNKNOWN, settled
from authz.flows.check import Checker
from authz.flows.imported import ImportedKeys

Place = tuple[Checker, ImportedKeys]


class PartitionedChecker:
    """Decides requests as a Checker does. checkers: of each partition, in order.

    has_signing_keys: returns whether the first partition is trusted, or was within the grace.
    may_have_moved: returns whether a partition may have moved keys. max_moved: bound on those that
    are remembered, and on imported keys.
    """

    def __init__(
        self,
        checkers: Sequence[Checker],
        has_signing_keys: Callable[[], bool] = lambda: True,
        *,
        may_have_moved: Callable[[int], bool],
        max_moved: int,
    ) -> None:
        self._has_signing_keys = has_signing_keys
        self._checkers = tuple(checkers)
        self._first = checkers[0]
        self._may_have_moved = may_have_moved
        self._moved: BoundedDict[str, int] = BoundedDict(max_moved)
        self._found: BoundedDict[bytes, Place] = BoundedDict(max_moved)  # by the first digest
        self._named = self._of = Partitions(len(checkers)).of
        for checker in checkers:
            checker.elsewhere = self._decide_elsewhere
        self._checks = [one.check for one in checkers]

    @property
    def hits(self) -> int:
        """Checks that found their record in a cache; only grows."""
        return sum(one.hits for one in self._checkers)

    def check(self, request: Request) -> Decision | Awaitable[Decision]:
        """Return the decision as `Checker.check` does."""
        presented = request.credential
        if isinstance(presented, Presented):
            return self._checks[self._of(presented.kid)](request)
        if isinstance(presented, Imported):
            return self._check_imported(presented, request)
        if isinstance(presented, PresentedToken):
            return self._check_token(presented, request)
        return self._first.check(request)

    def _check_token(
        self, presented: PresentedToken, request: Request
    ) -> Decision | Awaitable[Decision]:
        token = self._first.accept(presented, request)
        if not isinstance(token, Deny) and not self._has_signing_keys():
            token = UNAVAILABLE
        if isinstance(token, Deny):
            return self._first.conclude(token, request)
        return self._checkers[self._of(token.kid)].check_accepted(token, request)

    def _decide_elsewhere(
        self, credential: object, request: Request, cause: Unavailable
    ) -> Decision | Awaitable[Decision] | None:
        """Decide on a moved key in the partition where it lies; None if that is not known."""
        if not isinstance(credential, (Presented, AcceptedToken)):
            return None
        kid = credential.kid
        at = cause.partition if isinstance(cause, Elsewhere) else self._holder(kid)
        if at is None:
            return None
        self._moved.put(kid, at)
        self._of = self._place  # from now on: a store without moved keys never pays for it
        if isinstance(credential, AcceptedToken):
            return self._checkers[at].check_accepted(credential, request)
        return self._checks[at](request)

    def _place(self, kid: str) -> int:
        at = self._moved.get(kid)
        return self._named(kid) if at is None else at

    def _holder(self, kid: str) -> int | None:
        """Return the other partition whose cache has the record, also a stale one."""
        named = self._named(kid)
        if not self._may_have_moved(named):
            return None
        caches = enumerate(one.cache for one in self._checkers)
        return next((at for at, cache in caches if at != named and cache.peek_stale(kid)), None)

    def _check_imported(
        self, imported: Imported, request: Request
    ) -> Decision | Awaitable[Decision]:
        digest = imported.all_digests()[0]
        known = self._found.get(digest)
        if known is not None and known[1].peek(imported) is not None:
            return known[0].check(request)
        places: list[Place] = []
        excluding = None
        for checker in self._checkers:
            keys = checker.imported
            if keys is None or keys.exist() is False:
                continue
            if keys.peek(imported) is not None:
                self._found.put(digest, (checker, keys))
                return checker.check(request)
            if keys.may_have(imported):
                places.append((checker, keys))
            else:
                excluding = checker
        if len(places) > 1:
            return self._find(places, imported, request)
        one = places[0][0] if places else excluding
        return self._first.conclude(MALFORMED, request) if one is None else one.check(request)

    async def _find(
        self, places: Sequence[Place], imported: Imported, request: Request
    ) -> Decision:
        """Ask those that are known to have the digest, then the others."""
        likely = [place for place in places if place[1].has(imported)]
        failed: list[Place] = []
        for some in (likely, [place for place in places if place not in likely]):
            asked = [keys.find(imported, request.client_address) for _, keys in some]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            for place, answer in zip(some, answers, strict=True):
                if isinstance(answer, Unavailable):
                    failed.append(place)
                elif isinstance(answer, BaseException):
                    raise answer
                elif answer is not None:
                    return await settled(place[0].check(request))  # it is cached now
        for checker, keys in failed:
            if keys.peek_stale(imported) is not None:
                return await settled(checker.check(request))
        return self._first.conclude(UNAVAILABLE if failed else UNKNOWN, request)
