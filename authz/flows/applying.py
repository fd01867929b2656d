"""Applying: makes the keys of the store as a file declares them, by a three-way merge for each key.

The base of the merge is the state that the file was made from: the record at the version that the
file names, else the fields that were last applied. Nothing is overwritten that changed since.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from authz.core import declared_changes
from authz.core.admin_ports import AppliedStore
from authz.core.declared_changes import AsOf, Planned
from authz.core.edits import Disable, Revoke
from authz.core.errors import Unavailable
from authz.core.merging import Applied, Fields, Merge, fields_of, merge, state_at
from authz.core.partitions import ONE, Partitions
from authz.core.ports import Clock
from authz.core.records import KeyRecord, RevocationReason, Status
from authz.core.selector import Selector
from authz.flows.bulk_change import Step
from authz.flows.by import By
from authz.flows.command_ports import DeclaredKeys, KeyExporter, SecretSink
from authz.flows.key_history import KeyHistory
from authz.flows.lifecycle import Changed
from authz.flows.selection import Cost


@dataclass(frozen=True, slots=True)
class Declared:
    """One key of a file. label: names it in messages. record: its fields; the rest is ignored.

    kid: None for a key that has none yet. ref: the name that the file gives the key, or "".
    version: of the record that the file was made from; None: not said.
    """

    label: str
    kid: str | None
    ref: str
    version: int | None
    record: KeyRecord

    @property
    def fields(self) -> dict[str, object]:
        """The declared fields as JSON values."""
        return fields_of(self.record)


@dataclass(frozen=True, slots=True)
class Intent:
    """The work for one declared key. stored: its record; None for a new or unreadable key.

    base: the fields that the file was made from, as far as they are known; None: unknown. merged:
    the changes to make. problem: the reason why it cannot be applied, or "".
    """

    declared: Declared
    stored: KeyRecord | None
    base: Fields | None = None
    merged: Merge = field(default_factory=Merge)
    problem: str = ""

    @property
    def is_new(self) -> bool:
        """True if the key has to be issued."""
        return self.stored is None and not self.problem


@dataclass(frozen=True, slots=True)
class Prunable:
    """A key of the store that the file does not declare. problem: the reason to keep it, or ""."""

    record: KeyRecord
    problem: str = ""


class Applying:
    """Compares a file with the store, and applies it.

    Methods raise Unavailable if the store fails. To repeat an interrupted run is safe. partitions:
    of the store. Where they are not known, with several of them fewer keys are pruned.
    """

    def __init__(
        self,
        *,
        exporter: KeyExporter,
        keys: DeclaredKeys,
        history: KeyHistory,
        applied: AppliedStore,
        clock: Clock,
        partitions: Partitions = ONE,
    ) -> None:
        self._partitions = partitions
        self._exporter = exporter
        self._keys = keys
        self._history = history
        self._applied = applied
        self._clock = clock

    async def compare(self, declared: Sequence[Declared], *, overwrites: bool) -> list[Intent]:
        """Return the work for each declared key, in order. Changes nothing.

        A key without a kid gets that of the key of its tenant and project to which its `ref` was
        applied before, if any. A kid without a readable record is a `problem`, and a `ref` that
        only keys of others have. overwrites: the file wins every clash, and undoes the changes of
        the store.
        """
        applied = await self._applied.load()
        places: dict[str, list[str]] = {}
        for kid, entry in applied.items():
            if entry.ref:
                places.setdefault(entry.ref, []).append(kid)
        meant = [[one.kid] if one.kid else places.get(one.ref, []) for one in declared]
        stored = {
            entry.kid: entry.record or entry.why
            for entry in await self._keys.read([kid for kids in meant for kid in kids])
        }
        named = [
            replace(one, kid=_own(one, kids, stored, applied))
            for one, kids in zip(declared, meant, strict=True)
        ]
        return [
            Intent(one, None, problem=_elsewhere(one.ref, kids[0]))
            if kids and one.kid is None
            else await self._intent(one, stored, applied, overwrites)
            for one, kids in zip(named, meant, strict=True)
        ]

    async def _intent(
        self,
        one: Declared,
        stored: Mapping[str, KeyRecord | str],
        applied: Mapping[str, Applied],
        overwrites: bool,
    ) -> Intent:
        if one.kid is None:
            return Intent(one, None, problem=declared_changes.problem_of_new(one.record))
        record = stored[one.kid]
        if isinstance(record, str):
            return Intent(one, None, problem=record)
        if record.env != one.record.env:
            problem = f"env: is {record.env}, and a key keeps its environment"
            return Intent(one, record, problem=problem)
        if record.public != one.record.public:
            told = "publishable" if record.public else "not publishable"
            return Intent(one, record, problem=f"public: the key is {told}, and that never changes")
        base = await self._base(one, record, applied.get(one.kid))
        merged = merge(one.fields, fields_of(record), base, overwrites=overwrites)
        problem = declared_changes.problem(record, merged) or declared_changes.problem_of_move(
            record, one.record, merged, self._partitions
        )
        return Intent(one, record, base, merged, problem)

    async def _base(self, one: Declared, record: KeyRecord, last: Applied | None) -> Fields | None:
        if one.version is None:
            return last.fields if last else None
        if one.version == record.version:
            return fields_of(record)
        if one.version > record.version:  # of another store, or of a time before a restore
            return None
        entries = (await self._history.of(record)).entries
        return state_at(record, entries, one.version)

    async def prunable(
        self, scope: Selector, declared: Sequence[Declared], as_of: AsOf
    ) -> list[Prunable]:
        """Return the keys of the scope that the file does not declare, without the revoked ones.

        A key with a `problem` must not be pruned: it was issued or changed after `as_of`. A key
        that is still as the last apply left it has no `problem`. Unreadable keys are left out.
        declared: as `compare` names them. as_of: number of the last change when the file was made.
        """
        applied = await self._applied.load()
        known = {one.kid for one in declared}
        found: list[Prunable] = []
        async for entry in self._exporter.each(scope, Cost()):
            record = entry.record
            if record is None or record.status is Status.REVOKED or entry.kid in known:
                continue
            last = applied.get(entry.kid)
            is_seen = declared_changes.is_within(record, as_of, self._partitions) or (
                last and last.version == record.version
            )
            problem = "" if is_seen else "it was issued or changed after the file was made"
            found.append(Prunable(record, problem))
        return found

    async def create(self, one: Declared, sink: SecretSink, by: By) -> KeyRecord:
        """Issue a declared key, and hand its secret to `sink`. Return its record.

        A key that is declared disabled is issued first, then disabled. Its fields are stored as
        applied. Raises BadInput if the key is refused, such as one that would expire before it
        begins, OutcomeUnknown if the replies to all tries are lost.
        """
        spec = declared_changes.new_key(one.record, self._clock.wall_ms())
        record = await self._keys.issue(spec, sink, by)
        if one.record.status is Status.DISABLED:
            record = await self._disabled(record, by)
        await self._applied.save({record.kid: Applied(record.version, one.fields, one.ref)})
        return record

    async def _disabled(self, record: KeyRecord, by: By) -> KeyRecord:
        async for steps in self._keys.carry_out([record.kid], lambda _: Disable(), by):
            for step in steps:
                if not isinstance(step.outcome, Changed):
                    raise Unavailable(f"{record.kid} was issued, and could not be disabled")
                record = step.outcome.record
        return record

    async def change(
        self, intents: Sequence[Intent], by: By, *, overwrites: bool
    ) -> AsyncIterator[Sequence[Step]]:
        """Change the stored keys as declared, and yield the outcomes.

        New keys and keys with a `problem` are left out. Each change is merged again with the record
        as it is then. So an edit that comes in between is kept, or refused as a conflict. The
        fields come first, then the status, with an outcome of its own. `remember` stores the fields
        as applied; this does not.
        """
        todo = {i.declared.kid: i for i in intents if i.stored is not None and not i.problem}

        def merged(record: KeyRecord) -> Merge:
            intent = todo[record.kid]
            return merge(
                intent.declared.fields, fields_of(record), intent.base, overwrites=overwrites
            )

        def set_fields(record: KeyRecord) -> Planned:
            wanted = todo[record.kid].declared.record
            return declared_changes.set_fields(record, wanted, merged(record))

        def set_status(record: KeyRecord) -> Planned:
            return declared_changes.set_status(record, merged(record))

        edited = [kid for kid, i in todo.items() if kid and i.merged.wanted.keys() - {"status"}]
        async for steps in self._keys.carry_out(edited, set_fields, by):
            yield steps
        turned = [kid for kid, i in todo.items() if kid and "status" in i.merged.wanted]
        async for steps in self._keys.carry_out(turned, set_status, by):
            yield steps

    async def remember(self, intents: Sequence[Intent]) -> dict[str, KeyRecord]:
        """Store the declared fields as applied, of the keys that are now as the file declares.

        Return the records of these keys by kid. They differ from the file by changes of the store
        alone. Left out: new keys, keys with a `problem`, and keys that still lack a declared value.
        """
        kids = [i.declared.kid for i in intents if i.declared.kid and not i.problem]
        records: dict[str, KeyRecord] = {}
        saved: dict[str, Applied] = {}
        by_kid = {i.declared.kid: i for i in intents}
        before = await self._applied.load()
        for entry in await self._keys.read(kids):
            if entry.record is None:
                continue
            intent = by_kid[entry.kid]
            left = merge(intent.declared.fields, fields_of(entry.record), intent.base)
            if left.wanted or left.clashes:
                continue
            records[entry.kid] = entry.record
            made = Applied(entry.record.version, intent.declared.fields, intent.declared.ref)
            if before.get(entry.kid) != made:
                saved[entry.kid] = made
        if saved:
            await self._applied.save(saved)
        return records

    def revoke(self, kids: Sequence[str], by: By) -> AsyncIterator[Sequence[Step]]:
        """Revoke these keys, for cessation of operation, and yield the outcomes."""
        reason = RevocationReason.CESSATION_OF_OPERATION
        return self._keys.carry_out(kids, lambda _: Revoke(reason), by)


def _own(
    one: Declared,
    kids: Sequence[str],
    stored: Mapping[str, KeyRecord | str],
    applied: Mapping[str, Applied],
) -> str | None:
    """Return the kid of a declared key; None for a new one, and if only others have its `ref`.

    kids: of the keys with its `ref`. An administrator of one tenant can give any ref to a key of
    that tenant. So a ref never leads to a key of another tenant or project.
    """
    if one.kid:
        return one.kid
    owner = (one.record.tenant_id, one.record.project_id)
    own = [kid for kid in kids if _owner(stored[kid]) in {owner, None}]
    return max(own, key=lambda kid: applied[kid].version, default=None)


def _owner(found: KeyRecord | str) -> tuple[str, str] | None:
    return None if isinstance(found, str) else (found.tenant_id, found.project_id)


def _elsewhere(ref: str, kid: str) -> str:
    return (
        f"ref {ref} is that of {kid}, of another tenant or project; to move the key, name its kid"
    )
