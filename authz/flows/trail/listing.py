"""TrailListing: the changes of all keys, newest first, with the expiries between them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from authz.core.admin_ports import KeyIndex
from authz.core.audit import AuditEntry
from authz.core.errors import Unreadable
from authz.core.ports import Clock
from authz.core.records import KeyRecord
from authz.core.trail.erasures import subject
from authz.core.trail.expiries import Expiries, Expiry
from authz.core.trail.installation import is_about_installation
from authz.core.trail.ports import TrailStore
from authz.core.trail.rows import RESTORE, Row
from authz.flows.trail.sealing import read_all

CHUNK: Final = 500  # rows read in one call
EXPIRE: Final = "expire"  # the action of an expiry
SLACK: Final = 3_600_000  # ms by which the clocks of two writers may differ


@dataclass(frozen=True, slots=True)
class Wanted:
    """Conditions on events, together. Empty or None: any.

    since, until: ms since the epoch; `until` itself is outside. action: of an entry, `expire`, or
    `restore`. client_id: of the key, as it is now.
    """

    kid: str = ""
    actor: str = ""
    action: str = ""
    client_id: str = ""
    since: int | None = None
    until: int | None = None

    def fits(self, kid: str, action: str, actor: str, at: int) -> bool:
        """Return whether an event is wanted, apart from its client."""
        return (
            self.kid in {"", kid}
            and self.action in {"", action}
            and self.actor in {"", actor}
            and (self.since is None or at >= self.since)
            and (self.until is None or at < self.until)
        )


@dataclass(frozen=True, slots=True)
class TrailEvent:
    """One event. id: of its row; empty for an expiry. at: ms since the epoch.

    entry: None for an expiry or a restore. why: the reason if the row cannot be read; then `at` is
    0, `action` is empty and `entry` is None.
    """

    id: str
    kid: str
    at: int
    action: str
    actor: str = ""
    entry: AuditEntry | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Events:
    """Events, newest first. has_more: older ones fit, too."""

    events: tuple[TrailEvent, ...]
    has_more: bool


class TrailListing:
    """Lists events. decode: reads the entry of a row, or says why it cannot be read."""

    def __init__(
        self,
        store: TrailStore,
        index: KeyIndex,
        decode: Callable[[Row], AuditEntry | Unreadable],
        clock: Clock,
    ) -> None:
        self._store = store
        self._index = index
        self._decode = decode
        self._clock = clock

    async def find(self, wanted: Wanted, limit: int) -> Events:
        """Return the newest events that fit, at most `limit`.

        Entries are read from the newest on, until there are enough. If expiries are wanted, the
        whole trail is read; they are not if an actor is. Raises Unavailable if the store fails.
        """
        entries = [] if wanted.action == EXPIRE else await self._entries(wanted, limit + 1)
        since = entries[-1].at if len(entries) > limit else 0
        if wanted.action in {"", EXPIRE} and not wanted.actor:
            entries += await self._of_client(wanted, await self._expiries(wanted, since))
        entries.sort(key=lambda event: event.at, reverse=True)
        return Events(tuple(entries[:limit]), len(entries) > limit)

    async def _entries(self, wanted: Wanted, count: int) -> list[TrailEvent]:
        found: list[TrailEvent] = []
        end = ""
        while rows := await self._store.before(end, CHUNK):
            end = rows[-1].id
            events = [self._event(row) for row in rows if _is_event(row)]
            fitting = [one for one in events if wanted.fits(one.kid, one.action, one.actor, one.at)]
            found += await self._of_client(wanted, fitting)
            oldest = min((one.at for one in events if one.at), default=0)
            if len(found) >= count or oldest < (wanted.since or 0) - SLACK:
                break
        return found[:count]

    async def _expiries(self, wanted: Wanted, since: int) -> list[TrailEvent]:
        """Return the wanted expiries at `since` (ms) or later, up to now."""
        expiries, found = Expiries(), list[Expiry]()
        await read_all(self._store, lambda row: found.extend(expiries.feed(row)))
        found.extend(expiries.until(self._clock.wall_ms()))
        return [
            TrailEvent("", one.kid, one.at, EXPIRE)
            for one in found
            if one.at >= since and wanted.fits(one.kid, EXPIRE, "", one.at)
        ]

    async def _of_client(self, wanted: Wanted, events: Sequence[TrailEvent]) -> list[TrailEvent]:
        if not wanted.client_id or not events:
            return list(events)
        kids = list(dict.fromkeys(one.kid for one in events if one.kid))
        records = await self._index.read(kids)
        theirs = {
            record.kid
            for record in records
            if isinstance(record, KeyRecord) and record.client_id == wanted.client_id
        }
        return [one for one in events if one.kid in theirs]

    def _event(self, row: Row) -> TrailEvent:
        kid = subject(row)
        if _is_restore(row):
            actor, at = row.fields.get("actor", ""), row.fields.get("at", "")
            return TrailEvent(row.id, "", int(at) if at.isdecimal() else 0, RESTORE, actor)
        entry = self._decode(row)
        if isinstance(entry, Unreadable):
            return TrailEvent(row.id, kid, 0, "", why=str(entry))
        event = entry.event
        return TrailEvent(row.id, kid, event.at, event.action.value, event.actor, entry)


def _is_event(row: Row) -> bool:
    return bool(subject(row)) or _is_restore(row) or is_about_installation(row)


def _is_restore(row: Row) -> bool:
    return not row.kid and row.fields.get("action") == RESTORE
