"""MemoryRows: a TrailStore in memory, with the writers of an honest history."""

import json
import random
from collections.abc import Mapping, Sequence

from authz.core.audit import Action, AuditEvent
from authz.core.trail.rows import MARK, Row, TrailKeys, following, position, row_hash
from authz.storage import encoding
from tests.support.fakes import NOW, make_keyring

KEYS = make_keyring().trail_keys


class MemoryRows:
    """A TrailStore. rows: in order. seq: number of the last change. survives: as `add` reports."""

    def __init__(self, *, survives: bool = True) -> None:
        self.rows: list[Row] = []
        self.seq = 0
        self.last_id = ""
        self.survives = survives
        self.reads = 0
        self.gone: set[str] = set()  # deleted keys

    async def after(self, row_id: str, count: int) -> Sequence[Row]:
        """Implement TrailStore.after."""
        self.reads += 1
        start = position(row_id) if row_id else (-1, 0)
        return [row for row in self.rows if position(row.id) > start][:count]

    async def before(self, row_id: str, count: int) -> Sequence[Row]:
        """Implement TrailStore.before."""
        self.reads += 1
        return [
            row for row in reversed(self.rows) if not row_id or position(row.id) < position(row_id)
        ][:count]

    async def add(self, after: Row, fields: Mapping[str, str]) -> tuple[str, bool] | None:
        """Implement TrailStore.add."""
        if not self.rows or self.rows[-1] != after:
            return None
        row_id = following(self.last_id)
        self.append(Row(row_id, dict(fields)))
        return row_id, self.survives

    async def heads(self) -> tuple[int, str]:
        """Return the number of the last change and the last id, as StoredRows does."""
        return self.seq, self.last_id

    def append(self, row: Row) -> None:
        """Put a row at the end."""
        self.rows.append(row)
        self.last_id = row.id


class Writer:
    """Writes the entries of changes, as the change script does."""

    def __init__(self, store: MemoryRows, keys: TrailKeys | None = KEYS, seed: int = 1) -> None:
        self.store = store
        self.keys = keys
        self.versions: dict[str, int] = {}
        self._random = random.Random(seed)

    def write(self, kid: str, action: Action = Action.UPDATE, actor: str = "alice") -> Row:
        """Write the entry of the next change of a key."""
        self.store.seq += 1
        row = Row(f"{self.store.seq}-0", self.fields(kid, action, actor))
        self.store.append(row)
        self.versions[kid] = self.store.seq
        return row

    def delete(self, kid: str) -> Row:
        """Delete a key: its entries go, and one with their hashes comes."""
        gone = [row for row in self.store.rows if row.kid == kid]
        self.store.rows = [row for row in self.store.rows if row.kid != kid]
        self.store.seq += 1
        detail = {"entries": {row.id: row_hash(row.id, row.fields).hex() for row in gone}}
        fields = self.fields(kid, Action.DELETE, "alice", detail)
        self.versions.pop(kid)
        self.store.gone.add(kid)
        row = Row(f"{self.store.seq}-0", fields)
        self.store.append(row)
        return row

    def fields(
        self, kid: str, action: Action, actor: str, detail: Mapping[str, object] | None = None
    ) -> dict[str, str]:
        """Return the fields of an entry about the next change of a key."""
        event = AuditEvent(action, actor, "", NOW + self.store.seq * 1000, detail or {})
        change_id = f"{self._random.getrandbits(128):032x}"
        base = self.versions.get(kid, 0)
        fields = {"kid": kid} | encoding.encode_event(event, change_id, base)
        return fields if self.keys is None else self.keys.marked(fields)

    def history(self, changes: int, keys: int = 8) -> None:
        """Write changes of several keys, in an order that is the same in every run."""
        for _ in range(changes):
            kid = f"kid{self._random.randrange(keys):013d}"
            if kid in self.store.gone:  # a deleted key cannot come back
                kid = f"kid{self.store.seq + 1000:013d}"
            self.write(kid, Action.UPDATE if kid in self.versions else Action.ISSUE)


def altered(row: Row, **fields: str) -> Row:
    """Return a row with other fields and the mark that it had."""
    return Row(row.id, {**row.fields, **fields})


def unmarked(row: Row) -> Row:
    """Return a row without its mark."""
    return Row(row.id, {name: text for name, text in row.fields.items() if name != MARK})


def with_detail(row: Row, **members: object) -> Row:
    """Return a row whose detail has other members."""
    detail = json.loads(row.fields["detail"]) | members
    return altered(row, detail=json.dumps(detail))
