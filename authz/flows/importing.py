"""Importer: puts keys of somebody else's make into the store, a batch at a time."""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from authz.core import changes
from authz.core.changes import Author, KeyChange, KeySpec
from authz.core.errors import AliasTaken, BadInput, Conflict, Fault, OutcomeUnknown, Unavailable
from authz.core.keys.keyring import Imported, new_kid
from authz.core.ports import Clock, ImportStore

MAX_CONFIRMATIONS: Final = 3
CONFIRMATION_PAUSE: Final = 0.2  # seconds


@dataclass(frozen=True, slots=True)
class Wanted:
    """One key to import, and as what."""

    key: Imported = field(repr=False)
    spec: KeySpec


@dataclass(frozen=True, slots=True)
class Done:
    """The key is in the store as `kid`; `already` says that an earlier import put it there."""

    kid: str
    already: bool = False


Outcome = Done | BadInput


class Importer:
    """Imports keys. Doing it again is harmless: what is there already is left as it is."""

    def __init__(self, store: ImportStore, clock: Clock, actor: str, note: str = "") -> None:
        self._store = store
        self._clock = clock
        self._actor = actor
        self._note = note
        self._allowed = False

    async def put(self, batch: Sequence[Wanted]) -> list[Outcome]:
        """Import a batch; one outcome each. Raises Unavailable, and then doing it again is safe."""
        planned = [self._plan(wanted) for wanted in batch]
        made = [change for change in planned if isinstance(change, KeyChange)]
        if made and not self._allowed:
            await self._store.allow_imports()  # first: no sidecar may take one for garbage
            self._allowed = True
        answers = iter(await self._confirm(made) if made else ())
        return [
            _outcome(change, next(answers)) if isinstance(change, KeyChange) else change
            for change in planned
        ]

    async def rehearse(self, batch: Sequence[Wanted]) -> list[Outcome]:
        """What `put` would say; nothing is written. Raises Unavailable."""
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
        author = Author(secrets.token_hex(16), self._actor, self._note)
        digests = tuple(wanted.key.digests())
        try:
            now = self._clock.wall_ms()
            return changes.import_key(wanted.spec, new_kid(), digests, author, now)
        except BadInput as cause:
            return cause

    async def _confirm(self, made: Sequence[KeyChange]) -> list[int | Fault]:
        """Apply. Answers that were lost: the same changes again, which is safe."""
        unknown: OutcomeUnknown | None = None
        for _ in range(MAX_CONFIRMATIONS):
            if unknown is not None:
                await asyncio.sleep(CONFIRMATION_PAUSE)
            try:
                return await self._store.apply_all(made)
            except OutcomeUnknown as fault:
                unknown = fault
            except Unavailable:
                if unknown is None:  # nothing was ever sent
                    raise
        raise unknown or OutcomeUnknown("the store did not confirm the changes")


def _outcome(change: KeyChange, answer: int | Fault) -> Done:
    """Any other fault ends the import."""
    if isinstance(answer, AliasTaken):
        return Done(answer.kid, already=True)
    # Conflict: it is there, its answer was lost, and somebody has changed it since.
    if isinstance(answer, Fault) and not isinstance(answer, Conflict):
        raise answer
    return Done(change.record.kid)
