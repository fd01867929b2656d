"""StoredApplied: the fields of keys as a file last declared them, in one hash of the store.

Each entry has a seal over its kid and all its members. Without it a stranger could say that a file
declared another key, or other fields. Earlier versions ignore the seal when they read, and write
entries without one.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

import redis.asyncio

from authz.core.errors import BadSeal, Unreadable
from authz.core.keys.text import KID_PATTERN
from authz.core.merging import Applied
from authz.core.seals import Seal
from authz.storage import schema
from authz.storage.replies import checked
from authz.storage.seals import seals_of

PAGE: Final = 200  # entries that are sealed in one transaction


class StoredApplied:
    """An AppliedStore over redis-py. The field of a key is its kid, the value a JSON object.

    A client without seals neither makes nor checks them.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._name = schema.names_of(client).applied
        self._seals = seals_of(client)

    async def load(self) -> dict[str, Applied]:
        """Return all fields by kid.

        Raises Unavailable, Unreadable if one is garbled, BadSeal if one has a wrong seal, or none
        although seals are required.
        """
        return {kid: self._checked(kid, text)[1] for kid, text in (await self._texts()).items()}

    async def save(self, found: Mapping[str, Applied]) -> None:
        """Store the fields of these keys, by kid; others stay. Raises Unavailable."""
        texts: dict[str, str] = {}
        for kid, one in found.items():
            members = {"version": one.version, "ref": one.ref, "fields": dict(one.fields)}
            texts[kid] = self._sealed(kid, members)
        if texts:
            await checked(self._client.hset(self._name, mapping=cast("Any", texts)))

    async def reseal(
        self, refuse: Callable[[str, str], None], *, dry_run: bool = False
    ) -> tuple[int, int]:
        """Seal the entries with the newest pepper. Return how many there are, and were sealed.

        An entry without a seal gets one only where seals are not required; one with a wrong seal
        never. refuse: called with the kid and the reason. dry_run: count only. Raises Unavailable.
        """
        texts, wanted = await self._texts(), list[str]()
        for kid, text in texts.items():
            try:
                if self._resealed(kid, text):
                    wanted.append(kid)
            except Unreadable as cause:
                refuse(_shown(kid), str(cause))
        if dry_run:
            return len(texts), len(wanted)
        pages = [wanted[at : at + PAGE] for at in range(0, len(wanted), PAGE)]
        return len(texts), sum([await self._reseal(page) for page in pages])

    async def _reseal(self, kids: Sequence[str]) -> int:
        """Seal these entries as they are now, and return how many were sealed."""

        async def seal(transaction: Any) -> int:
            found = await transaction.hmget(self._name, kids)
            texts: dict[str, str] = {}
            for kid, text in zip(kids, found, strict=True):
                try:
                    if text is not None and (resealed := self._resealed(kid, text)):
                        texts[kid] = resealed
                except Unreadable:  # it was changed meanwhile; the next look at it says so
                    continue
            transaction.multi()
            if texts:
                transaction.hset(self._name, mapping=texts)
            return len(texts)

        done = self._client.transaction(seal, self._name, value_from_callable=True)
        return cast("int", await checked(done))

    async def _texts(self) -> dict[str, str]:
        return cast("dict[str, str]", await checked(self._client.hgetall(self._name)))

    def _checked(self, kid: str, text: str) -> tuple[dict[str, Any], Applied]:
        """Return the members of an entry and their meaning. Raises Unreadable, BadSeal."""
        try:
            members = json.loads(text)
            found = Applied(int(members["version"]), dict(members["fields"]), str(members["ref"]))
            why = self._seals.problem_of_applied(kid, members) if self._seals else ""
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
            raise Unreadable(f"the applied fields of {_shown(kid)} are garbled") from None
        if why:
            remedy = f"remove the entry (HDEL {self._name} {_shown(kid)})"
            advice = f"check the key's history, {remedy}, and name kids in the file"
            raise BadSeal(f"the applied entry of {_shown(kid)}: {why}; {advice}")
        return members, found

    def _resealed(self, kid: str, text: str) -> str:
        """Return the text of an entry with the seal that it shall get; "" if it has it.

        Raises Unreadable, BadSeal.
        """
        members, _ = self._checked(kid, text)
        if self._seals is None or self._seals.applied.check(kid, members) is Seal.VALID:
            return ""
        return self._sealed(kid, members)

    def _sealed(self, kid: str, members: Mapping[str, Any]) -> str:
        return json.dumps(self._seals.applied.sealed(kid, members) if self._seals else members)


def _shown(kid: str) -> str:
    """Return the kid for a message; "?" for a name of the hash that is none."""
    return kid if KID_PATTERN.fullmatch(kid) else "?"
