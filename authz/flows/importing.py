"""Importer: writes keys of other systems to the store, a batch at a time."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from authz.core import changes
from authz.core.changes import Author, KeyChange, KeySpec
from authz.core.errors import AliasTaken, BadInput, Conflict, Fault
from authz.core.keys.credentials import Imported
from authz.core.keys.text import new_kid
from authz.core.ports import Clock, ImportStore
from authz.flows.resending import until_confirmed


@dataclass(frozen=True, slots=True)
class Wanted:
    """A key to import and the fields of its record."""

    key: Imported = field(repr=False)
    spec: KeySpec


@dataclass(frozen=True, slots=True)
class Done:
    """The key is in the store as `kid`. `already`: an earlier import put it there."""

    kid: str
    already: bool = False


Outcome = Done | BadInput


class Importer:
    """Imports keys. A repeated import is harmless: it leaves keys that exist as they are."""

    def __init__(
        self,
        store: ImportStore,
        clock: Clock,
        actor: str,
        note: str = "",
        *,
        source: str = "",
        request_id: str = "",
    ) -> None:
        self._store = store
        self._clock = clock
        self._about = (actor, note, source, request_id)
        self._allowed = False

    async def put(self, batch: Sequence[Wanted]) -> list[Outcome]:
        """Import a batch and return one outcome for each key, in order; BadInput for a bad spec.

        First tells the sidecars, once, to look up imported keys. Raises Unavailable if the store
        fails, OutcomeUnknown if the replies to all tries are lost. Repeating the call is then safe.
        """
        planned = [self._plan(wanted) for wanted in batch]
        made = [change for change in planned if isinstance(change, KeyChange)]
        if made and not self._allowed:
            await self._store.allow_imports()  # first, or a sidecar would refuse them as malformed
            self._allowed = True
        send = partial(self._store.apply_all, made)
        replies = iter(await until_confirmed(send) if made else ())
        return [
            _outcome(change, next(replies)) if isinstance(change, KeyChange) else change
            for change in planned
        ]

    async def rehearse(self, batch: Sequence[Wanted]) -> list[Outcome]:
        """Return the outcomes that `put` would return. Writes nothing.

        A key that is not in the store gets a random kid; `put` would choose another one. Raises
        Unavailable if the store fails.
        """
        planned = [self._plan(wanted) for wanted in batch]
        made = [change for change in planned if isinstance(change, KeyChange)]
        found = iter(await self._store.resolve_all([change.aliases for change in made]))
        outcomes: list[Outcome] = []
        for change in planned:
            if isinstance(change, KeyChange):
                kid = next(found)
                outcomes.append(Done(kid, already=True) if kid else Done(change.record.kid))
            else:
                outcomes.append(change)
        return outcomes

    def _plan(self, wanted: Wanted) -> KeyChange | BadInput:
        author = Author(secrets.token_hex(16), *self._about)
        digests = tuple(wanted.key.digests())
        try:
            now = self._clock.wall_ms()
            return changes.import_key(wanted.spec, new_kid(), digests, author, now)
        except BadInput as cause:
            return cause


def _outcome(change: KeyChange, reply: int | Fault) -> Done:
    """Return the outcome of one change: AliasTaken and Conflict mean done. Raises other faults.

    AliasTaken: `kid` is the earlier key's, and `already` is True.
    """
    if isinstance(reply, AliasTaken):
        return Done(reply.kid, already=True)
    # Conflict: an earlier try wrote the key, its reply was lost, and the key was changed since.
    if isinstance(reply, Fault) and not isinstance(reply, Conflict):
        raise reply
    return Done(change.record.kid)
