"""Ports: the interfaces that flows need and outer packages implement. At most three methods each.

MUST marks an obligation of the implementation. A flow relies on it and cannot check it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from authz.core.access import Caller, Credentials, Refusal
from authz.core.audit import AuditEntry, LoggedChange, TrailRow
from authz.core.changes import KeyChange
from authz.core.decision import Decision, Deny, Reason
from authz.core.deletion import Removal, RemovedEntry
from authz.core.errors import Fault, Unavailable, Unreadable
from authz.core.events import Event
from authz.core.keys.credentials import Alias
from authz.core.limits.charge import Charge, Lease, SpendReply, SpendRequest
from authz.core.limits.key_limits import LimitGroup
from authz.core.merging import Applied
from authz.core.records import KeyRecord
from authz.core.request import Request
from authz.core.selector import Position
from authz.core.sidecars import Heard
from authz.core.trail.rows import Row


class Clock(Protocol):
    """The time. Tests use a clock that they move."""

    def wall_ms(self) -> int:
        """Return milliseconds since the epoch, which may jump, also back.

        Use it only for times that a person set, such as an expiry.
        """
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back and that count suspended time.

        Use it for trust, TTLs and deadlines.
        """
        ...


Loaded = KeyRecord | Fault | None


class KeySource(Protocol):
    """Loads records for the cache."""

    def load(self, kid: str, deliver: Callable[[Loaded], None]) -> None:
        """Request a record and return at once.

        `deliver` gets the record, None if there is no such key, or a Fault if that is unknown.
        MUST call `deliver` exactly once, and never before `load` has returned.
        MUST deliver in the order of the store's replies, also relative to calls of ChangeSink: a
        record that was read before a change is delivered before `forget` for that change.
        MUST NOT deliver None from a store that was emptied.
        """
        ...


LoadedAlias = Alias | Fault | None


class AliasSource(Protocol):
    """Loads the kids of imported keys."""

    def has_imports(self) -> bool | None:
        """Return whether keys were ever imported; None while that is unknown."""
        ...

    def resolve(self, digests: Sequence[bytes], deliver: Callable[[LoadedAlias], None]) -> None:
        """Request the alias of the first of `digests` that has one, and return at once.

        MUST call `deliver` as KeySource does: once, never before `resolve` has returned, and in the
        order of the store's replies. MUST NOT deliver None from a store that is not ours.
        """
        ...


class ChangeSink(Protocol):
    """Receives changes. The caches implement it."""

    def forget(self, kid: str, *, revoked: bool) -> None:
        """Drop a key that was changed. `revoked`: remember it as revoked for ever."""
        ...

    def flush(self, *, foreign: bool = False) -> None:
        """Drop everything, because changes may have been missed.

        Flushed entries may still be served during an outage, until trust is back. With
        `foreign=True` they are dropped as well: the store is not the one that they came from. Keys
        seen revoked are never forgotten.
        """
        ...

    def trust(self, until: float) -> None:
        """Serve cached entries as current while `Clock.monotonic() < until`. 0 ends trust now."""
        ...


class PepperProof(Protocol):
    """Knows whether our peppers are the store's."""

    def refutes(self, pepper_version: str) -> bool:
        """Return whether a wrong tag under this pepper version proves that a key is forged.

        False while it is unknown whether the store has the same pepper.
        """
        ...


class KeyStore(Protocol):
    """Reads and changes records. Reads are current and may be slow."""

    async def find(self, kid: str) -> KeyRecord | None:
        """Return the record, or None if no key has the kid.

        Raises Unreadable if the record cannot be read, Unavailable if the store fails.
        """
        ...

    async def apply(self, change: KeyChange) -> int:
        """Apply a change atomically and return the new version.

        MUST do nothing if the change was applied before, and return the same version.
        Raises Conflict if the record is not at `change.base_version`, AliasTaken if an alias is
        another key's, Deleted if the key was deleted, OutcomeUnknown if the reply was lost,
        Unavailable if nothing was sent.
        """
        ...

    async def replicas(self, change: KeyChange, version: int) -> int | None:
        """Return how many replicas have an applied change; None if the store has no replicas.

        Raises OutcomeUnknown if the store no longer has the change or does not reply.
        """
        ...


class BatchStore(Protocol):
    """Applies many changes at a time."""

    async def apply_all(self, changes: Sequence[KeyChange]) -> list[int | Fault]:
        """Apply each change as KeyStore.apply does, in order.

        The list has the version, or the fault that `apply` would raise. Raises OutcomeUnknown if
        replies were lost, Unavailable if nothing was sent.
        """
        ...


class AppliedStore(Protocol):
    """Remembers the fields of keys as a file last declared them."""

    async def load(self) -> Mapping[str, Applied]:
        """Return the fields of all keys by kid.

        Raises Unreadable if one is garbled, Unavailable if the store fails.
        """
        ...

    async def save(self, found: Mapping[str, Applied]) -> None:
        """Store the fields of these keys; others stay. Raises Unavailable if the store fails."""
        ...


class DeletionStore(Protocol):
    """Deletes keys."""

    async def entries(self, record: KeyRecord) -> Sequence[RemovedEntry]:
        """Return the key's entries in the audit trail, up to the first that is missing.

        Raises Unavailable if the store fails.
        """
        ...

    async def delete(self, removal: Removal) -> int:
        """Delete a key atomically and return the number of this change.

        Sidecars MUST hear of it as of a revocation. The kid, and the digests of an imported key,
        MUST NOT be taken again. MUST do nothing if the key was deleted before. MUST work on a full
        store. Raises Conflict if the record is at another version, OutcomeUnknown if the reply was
        lost, Unavailable if nothing was sent.
        """
        ...


class RequestStore(Protocol):
    """Remembers requests that may be repeated."""

    async def remember(self, name: str, entry: str, ms: int) -> str | None:
        """Store `entry` under `name` for `ms` and return None; or return the one that is there.

        MUST be atomic. MUST reach every store that a later change reaches. Raises Unavailable if
        the store fails; then it may or may not have the entry.
        """
        ...


class ImportStore(Protocol):
    """Writes imported keys, many at a time."""

    async def allow_imports(self) -> None:
        """Tell the sidecars to look up imported keys from now on.

        Raises Unavailable if the store does not confirm it.
        """
        ...

    async def resolve_all(self, digests: Sequence[Sequence[bytes]]) -> list[str | None]:
        """Return for each key's digests the kid of the first that is an alias, or None.

        Raises Unavailable if the store fails.
        """
        ...

    async def apply_all(self, changes: Sequence[KeyChange]) -> list[int | Fault]:
        """Apply each change as KeyStore.apply does, in order.

        The list has the version, or the fault that `apply` would raise. Raises OutcomeUnknown if
        replies were lost, Unavailable if nothing was sent.
        """
        ...


class RecordReader(Protocol):
    """Reads many records at once."""

    async def read(self, kids: Sequence[str]) -> Sequence[KeyRecord | Unreadable | None]:
        """Return for each kid, in order, its record, an Unreadable with the reason, or None.

        None: no record has this kid. Raises Unavailable if the store fails.
        """
        ...


class SidecarRegistry(Protocol):
    """Lists the sidecars."""

    async def find(self) -> tuple[int, list[Heard]]:
        """Return the number of the last change, and every sidecar that is remembered.

        MUST remember each sidecar for longer than it may serve what it cached. Raises Unavailable.
        """
        ...


class KeyIndex(RecordReader, Protocol):
    """Lists keys, oldest first. Reads are current and may be slow."""

    async def kids(
        self, client_id: str | None, after: Position | None, count: int
    ) -> Sequence[Position]:
        """Return at most `count` positions of keys that follow `after`; None: from the first.

        client_id: list this client only. If a change ended early, the list of a client may have
        kids too many, or lack kids until the change is sent again. `after` need not be in the list.
        MUST cost about the same for every `after`. Raises Unavailable.
        """
        ...

    async def texts(
        self, kids: Sequence[str], fields: Sequence[str]
    ) -> Sequence[Sequence[str | None]]:
        """Return for each kid, in order, the stored texts of these fields of its record.

        fields: those that `Screen.fields` names. A text is None if it cannot be read. Raises
        Unavailable if the store fails.
        """
        ...


class AuditTrail(Protocol):
    """Reads the audit trail."""

    async def entry(self, kid: str, version: int) -> AuditEntry | None:
        """Return the entry that made this version of a key, or None if it is missing.

        MUST NOT read more than a bounded part of the trail. Raises Unreadable if the entry is
        garbled, Unavailable if the store fails.
        """
        ...


class TrailStore(Protocol):
    """Reads the audit trail as rows, and adds rows about the trail itself."""

    async def after(self, row_id: str, count: int) -> Sequence[Row]:
        """Return at most `count` rows after an id, oldest first; from the first if it is empty.

        Raises Unavailable.
        """
        ...

    async def before(self, row_id: str, count: int) -> Sequence[Row]:
        """Return at most `count` rows before an id, newest first; from the last if it is empty.

        Raises Unavailable.
        """
        ...

    async def add(self, after: Row, fields: Mapping[str, str]) -> tuple[str, bool] | None:
        """Add a row directly after the row `after`.

        Return its id, and whether it survives the loss of the primary. MUST do nothing and return
        None if the last row is not `after`, with the same fields: a failover can give its id to
        another row. Raises Unavailable, also if the reply was lost.
        """
        ...


class Authenticator(Protocol):
    """Identifies the callers of the administration API."""

    async def authenticate(self, credentials: Credentials) -> Caller | Refusal:
        """Return the caller, or the refusal of its credentials.

        MUST NOT raise for anything that a caller can send. MUST refuse several credentials in one
        request. MUST return UNAVAILABLE if it cannot find out whether a credential is good.
        """
        ...


class TrailPages(Protocol):
    """Lists the audit trail of all keys."""

    async def page(self, before: str, count: int) -> Sequence[TrailRow]:
        """Return at most `count` entries that are older than `before`, newest first.

        before: the position of a row; empty: from the newest. Raises Unavailable.
        """
        ...


class ChangeLog(Protocol):
    """Lists recent changes of keys, oldest first."""

    async def last(self) -> int:
        """Return the number of the last change, 0 if there was none. Raises Unavailable."""
        ...

    async def after(self, version: int, count: int) -> Sequence[LoggedChange] | None:
        """Return at most `count` changes after `version`.

        None if the log no longer holds all of them. Raises Unavailable.
        """
        ...


class SpendStore(Protocol):
    """Counts the use of limits for all sidecars together."""

    @property
    def is_open(self) -> bool:
        """True while calls can be sent. A call made while it is False gets Unavailable."""
        ...

    def spend(
        self,
        charge: Charge,
        request: SpendRequest,
        deliver: Callable[[SpendReply | Unavailable], None],
    ) -> None:
        """Take the charge for the requests wanted.

        Returned and owed requests are settled first, also if nothing is granted.

        MUST call `deliver` exactly once, within a bounded time, and never before `spend` has
        returned. It gets the reply, OutcomeUnknown if the call may have been counted, Unreadable if
        the counters are garbled, or another Unavailable if the call was not counted.
        MUST NOT count a call twice.
        """
        ...


class LimitCounters(Protocol):
    """Reads and resets the counters of limits. Reads are current and may be slow."""

    async def look(self, charge: Charge) -> SpendReply:
        """Return the reply that one request would get, and count nothing.

        `granted` is negative for a wrong calendar period. Raises Unreadable if the counters are
        garbled, Unavailable if the store fails.
        """
        ...

    async def leases(self, groups: Sequence[LimitGroup], now: int) -> list[list[Lease]]:
        """Return the leases of each group at `now`, in ms by the store's clock.

        MUST be bounded, and MUST leave out leases that cannot be read. Raises Unavailable.
        """
        ...

    async def reset(self, kid: str) -> None:
        """Set the counters of a key to zero, not its credits and those of its project or tenant.

        A key without counters stays as it is. Raises Unavailable if the store fails.
        """
        ...


class CreditCounters(Protocol):
    """Reads the used credits of many keys. Reads are current."""

    async def used(self, groups: Sequence[LimitGroup]) -> Sequence[int]:
        """Return the used units of each group, 0 without a counter. A group has one limit, credits.

        MUST take one round trip for each 1,000 groups at most. Raises Unreadable if a counter is
        garbled, Unavailable if the store fails.
        """
        ...


class Probe(Protocol):
    """Counts events on the hot path.

    MUST be a plain addition: no I/O, no lock, no label from a client.
    """

    def decided(self, reason: Reason | None) -> None:
        """Count a decision: refused for `reason`, or allowed (None)."""
        ...

    def reported(self, reason: Reason) -> None:
        """Count a refusal for `reason` on a route that does not enforce: it was allowed."""
        ...

    def count(self, event: Event, times: int = 1) -> None:
        """Count an event `times` times."""
        ...


class ResponseIds(NamedTuple):
    """The ids of a refusal. request_id: the caller sees this one. charge: of the response."""

    request_id: str
    charge: str


class CheckObserver(Protocol):
    """Records Checks: durations, spans and log lines. MUST NOT wait."""

    stride: int
    """The number of Checks that are not timed after one that is."""

    def take_line(self, decision: Deny) -> bool:
        """Take a log line for this refusal. Return False if the budget of log lines is used up.

        MUST be called once for each refusal.
        """
        ...

    def observe(
        self,
        decision: Decision,
        request: Request,
        traceparent: bytes | None,
        began: float | None,
        *,
        ids: ResponseIds | None = None,
        waited: bool = False,
    ) -> None:
        """Record a Check that was decided. Its response goes out next.

        traceparent: of the call that carries the Check (W3C Trace Context), not of the request.
        began: the start by `time.perf_counter`, or None if it was not timed. ids: of the response,
        for a refusal that took a line. waited: for the store.
        """
        ...
