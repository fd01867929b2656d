"""Importer: writes keys of other systems to the store, a batch at a time."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from authz.core import new_keys
from authz.core.admin_ports import ImportStore, RecordReader
from authz.core.changes import Author, KeyChange
from authz.core.errors import AliasTaken, BadInput, Conflict, Deleted, Fault, Unreadable
from authz.core.keys.credentials import Imported, ImportedHash
from authz.core.keys.text import new_kid
from authz.core.new_keys import KeySpec
from authz.core.partitions import ONE, Partitions
from authz.core.past import Past
from authz.core.ports import Clock
from authz.core.records import KeyRecord, Secret, Status
from authz.flows.resending import until_confirmed


@dataclass(frozen=True, slots=True)
class Wanted:
    """A key to import, or its hash, and the fields of its record.

    past: its state in the other system; None for a key that is active and new.
    """

    key: Imported | ImportedHash = field(repr=False)
    spec: KeySpec
    past: Past | None = None

    def identity(self) -> bytes:
        """Return a digest that is the same for a key and for its hash."""
        return next(self.hashed().digests())[1]

    def hashed(self) -> ImportedHash:
        """Return the SHA-256 of the key, as given or computed, so that both forms are one key.

        The store gets neither: it gets a digest of this hash under our pepper.
        """
        return self.key.hashed() if isinstance(self.key, Imported) else self.key


@dataclass(frozen=True, slots=True)
class Done:
    """The key is in the store as `kid`. `already`: an earlier import put it there."""

    kid: str
    already: bool = False


@dataclass(frozen=True, slots=True)
class Clash:
    """The key is in the store as `kid`, but not as the line has it. Nothing was changed.

    field: of the line. problem: the difference.
    """

    kid: str
    field: str
    problem: str


Outcome = Done | Clash | BadInput
DELETED: Final = BadInput("key", "was deleted here, which is final; it cannot be imported again")


class Importer:
    """Imports keys. A repeated import is harmless: it leaves keys that exist as they are.

    partitions: of the store.
    """

    def __init__(
        self,
        store: ImportStore,
        records: RecordReader,
        clock: Clock,
        actor: str,
        note: str = "",
        *,
        source: str = "",
        request_id: str = "",
        partitions: Partitions = ONE,
    ) -> None:
        self._partitions = partitions
        self._store = store
        self._records = records
        self._clock = clock
        self._about = (actor, note, source, request_id)
        self._allowed = False

    def ready(self, batch: Sequence[Wanted]) -> "ReadyImport":
        """Plan a batch: the part of the work that needs no store."""
        return ReadyImport(self, [self._plan(wanted) for wanted in batch])

    async def put(self, batch: Sequence[Wanted]) -> list[Outcome]:
        """Plan a batch and import it, as `ReadyImport.put`."""
        return await self.ready(batch).put()

    async def rehearse(self, batch: Sequence[Wanted]) -> list[Outcome]:
        """Plan a batch and rehearse it, as `ReadyImport.rehearse`."""
        return await self.ready(batch).rehearse()

    async def apply(self, planned: Sequence[KeyChange | BadInput]) -> list[Outcome]:
        """Make planned changes, and return the outcomes of `ReadyImport.put`."""
        made = [change for change in planned if isinstance(change, KeyChange)]
        if made and not self._allowed:
            await self._store.allow_imports()  # first, or a sidecar would refuse them as malformed
            self._allowed = True
        send = partial(self._store.apply_all, made)
        replies = await until_confirmed(send) if made else []
        owners = [_owner(reply) for reply in replies]
        return await self._outcomes(planned, owners)

    async def compare(self, planned: Sequence[KeyChange | BadInput]) -> list[Outcome]:
        """Return the outcomes of `ReadyImport.rehearse`."""
        made = [change for change in planned if isinstance(change, KeyChange)]
        found = await self._store.resolve_all([change.aliases for change in made])
        owners = [DELETED if isinstance(owner, Deleted) else owner for owner in found]
        return await self._outcomes(planned, owners)

    async def _outcomes(
        self, planned: Sequence[KeyChange | BadInput], owners: Sequence[str | BadInput | None]
    ) -> list[Outcome]:
        """Return the outcome of each planned change.

        owners: for each KeyChange in order, the kid that had the key before, its refusal, or None.
        """
        taken = [kid for kid in owners if isinstance(kid, str)]
        records = dict(zip(taken, await self._records.read(taken) if taken else (), strict=True))
        left = iter(owners)
        outcomes: list[Outcome] = []
        for change in planned:
            owner = next(left) if isinstance(change, KeyChange) else change
            if isinstance(owner, BadInput):
                outcomes.append(owner)
            elif isinstance(change, KeyChange):
                kid, now = owner, change.event.at
                fresh = Done(change.record.kid)
                outcomes.append(_compare(kid, records[kid], change, now) if kid else fresh)
        return outcomes

    def _plan(self, wanted: Wanted) -> KeyChange | BadInput:
        author = Author(secrets.token_hex(16), *self._about)
        key, now = wanted.key, self._clock.wall_ms()
        older = tuple(key.digests()) if isinstance(key, Imported) else ()
        digests = tuple(wanted.hashed().digests())
        kid = self._partitions.fitting(new_kid(), wanted.spec)
        try:
            return new_keys.import_key(
                wanted.spec, kid, digests, author, now, older=older, past=wanted.past
            )
        except BadInput as cause:
            return cause


@dataclass(frozen=True, slots=True)
class ReadyImport:
    """A planned batch, which can be sent to the store."""

    _importer: Importer
    _planned: Sequence[KeyChange | BadInput]

    async def put(self) -> list[Outcome]:
        """Import the batch and return one outcome for each key, in order.

        BadInput, as a value, for a bad spec and for a key that was deleted here. First tells the
        sidecars, once, to look up imported keys. Raises Unavailable if the store fails,
        OutcomeUnknown if the replies to all tries are lost. Repeating the call is then safe.
        """
        return await self._importer.apply(self._planned)

    async def rehearse(self) -> list[Outcome]:
        """Return the outcomes that `put` would return. Writes nothing.

        A key that is not in the store gets a random kid; `put` would choose another one. Raises
        Unavailable if the store fails.
        """
        return await self._importer.compare(self._planned)


def _owner(reply: int | Fault) -> str | BadInput | None:
    """Return the kid that had the key before, or None if the change was made. Raises other faults.

    BadInput: the key was deleted here. Conflict means that the change was made: an earlier try
    wrote the key, its reply was lost, and the key was changed since.
    """
    if isinstance(reply, Deleted):
        return DELETED
    if isinstance(reply, AliasTaken):
        return reply.kid
    if isinstance(reply, Fault) and not isinstance(reply, Conflict):
        raise reply
    return None


def _compare(
    kid: str, record: KeyRecord | Unreadable | None, change: KeyChange, now: int
) -> Done | Clash:
    """Compare the key in the store with the planned one. Return Done as `already`, or a Clash.

    A Clash: the record cannot be read, the client is another one, the key is revoked here and not
    in the plan, or the imported secret is no longer live at `now` (ms since the epoch). Other
    fields may differ: they may have been changed here since.
    """
    wanted = change.record
    if record is None or isinstance(record, Unreadable):
        state = "without a record" if record is None else "with a record that cannot be read"
        return Clash(kid, "key", f"is there as {kid}, {state}; run authz doctor")
    if record.client_id != wanted.client_id:
        return Clash(kid, "client", f"is {record.client_id} for {kid}, which has this key")
    if record.status is Status.REVOKED and wanted.status is not Status.REVOKED:
        return Clash(kid, "key", f"is there as {kid}, which is revoked; revoked is final")
    if not any(_is_imported(secret) and secret.is_live(now) for secret in record.secrets):
        return Clash(kid, "key", f"was a secret of {kid}, which has other secrets now")
    return Done(kid, already=True)


def _is_imported(secret: Secret) -> bool:
    return secret.id == "1"  # the first one; later ones are of our make
