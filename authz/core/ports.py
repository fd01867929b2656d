"""The seams: what flows need from a shell. Each has at most three methods."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from authz.core.audit import AuditEntry
from authz.core.changes import KeyChange
from authz.core.decision import Decision, Deny, Reason
from authz.core.errors import Fault, Unavailable, Unreadable
from authz.core.events import Event
from authz.core.keys.credentials import Alias
from authz.core.limits.charge import Charge, Lease, SpendReply, SpendRequest
from authz.core.limits.key_limits import LimitGroup
from authz.core.records import KeyRecord
from authz.core.request import Request
from authz.core.sidecars import Heard


class Clock(Protocol):
    """Where the time comes from. Tests move a fake one."""

    def wall_ms(self) -> int:
        """Milliseconds since the epoch. May jump: only for what a person set, such as an expiry."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back and count suspended time: for trust, TTLs and deadlines."""
        ...


Loaded = KeyRecord | Fault | None


class KeySource(Protocol):
    """Where the cache gets records from."""

    def load(self, kid: str, deliver: Callable[[Loaded], None]) -> None:
        """Ask for a record and return at once.

        MUST call `deliver` exactly once, never inside this call, with the record, None when there
        is no such key, or a Fault when that is not known. MUST deliver in the order in which the
        store answered, also relative to ChangeSink calls: a record read before a change is
        delivered before `forget` of that change. MUST NOT say None of a store that was emptied.
        """
        ...


LoadedAlias = Alias | Fault | None


class AliasSource(Protocol):
    """Where an imported key's kid comes from."""

    def has_imports(self) -> bool | None:
        """Were keys ever imported? None while that is not known."""
        ...

    def resolve(self, digests: Sequence[bytes], deliver: Callable[[LoadedAlias], None]) -> None:
        """Ask for the alias of the first of `digests` that has one, and return at once.

        MUST call `deliver` as KeySource does: once, never inside this call, in the store's order,
        and with None only when a store that is ours has none of them.
        """
        ...


class ChangeSink(Protocol):
    """Who is told about changes: the caches."""

    def forget(self, kid: str, *, revoked: bool) -> None:
        """The key was changed. `revoked`: remember that forever, whatever the store says later."""
        ...

    def flush(self, *, foreign: bool = False) -> None:
        """Changes may have been missed: nothing that is held is current any more.

        It may still be gone on with in an outage, until trust is back; `foreign`: not even that,
        for the store is not the one it came from. What was seen revoked is never forgotten.
        """
        ...

    def trust(self, until: float) -> None:
        """What is cached holds while `Clock.monotonic()` is below `until`. 0 ends trust at once."""
        ...


class PepperProof(Protocol):
    """Whether our peppers are the store's, as far as the store has told us."""

    def refutes(self, pepper_version: str) -> bool:
        """Does a tag that fails under this version prove a forgery? No while that is not known."""
        ...


class KeyStore(Protocol):
    """Where changes go. Reads here are current and may be slow."""

    async def find(self, kid: str) -> KeyRecord | None:
        """The record, or None. Raises Unavailable."""
        ...

    async def apply(self, change: KeyChange) -> int:
        """Apply atomically and return the version it got. Applying a change twice is a no-op.

        Raises Conflict when the record is not at `change.base_version`, AliasTaken when one of its
        aliases is another key's, OutcomeUnknown when the answer was lost, Unavailable when nothing
        was sent.
        """
        ...

    async def replicas(self, change: KeyChange, version: int) -> int | None:
        """How many replicas have a change that was applied; None for a store that has none.

        Raises OutcomeUnknown when the store does not have it any more, or does not say.
        """
        ...


class ImportStore(Protocol):
    """Where keys of somebody else's make go, many at a time."""

    async def allow_imports(self) -> None:
        """Tell the sidecars that imported keys are to be looked up. Raises Unavailable."""
        ...

    async def resolve_all(self, digests: Sequence[Sequence[bytes]]) -> list[str | None]:
        """For each key's digests the kid that they lead to, or None. Raises Unavailable."""
        ...

    async def apply_all(self, changes: Sequence[KeyChange]) -> list[int | Fault]:
        """Apply each as KeyStore does, in order; what `apply` would raise stands in its place.

        Raises OutcomeUnknown when answers were lost, Unavailable when nothing was sent.
        """
        ...


class SidecarRegistry(Protocol):
    """Who the sidecars are."""

    async def find(self) -> tuple[int, list[Heard]]:
        """The number of the last change, and every sidecar that was ever heard and is remembered.

        MUST remember each for longer than it could act on what it knew. Raises Unavailable.
        """
        ...


class KeyIndex(Protocol):
    """What keys there are, oldest first. Reads here are current and may be slow."""

    async def kids(self, client_id: str | None, after: str, count: int) -> Sequence[str]:
        """At most `count` kids behind the kid `after`, or from the first when that is empty.

        Of one client, or of all. MUST cost the same wherever `after` stands. After an early end of
        a change a client's kids may be too many, and too few until the change was sent again.
        Raises BadInput when `after` is not among them, Unavailable.
        """
        ...

    async def read(self, kids: Sequence[str]) -> Sequence[KeyRecord | Unreadable | None]:
        """The record of each, or what is wrong with it, or None. Raises Unavailable."""
        ...


class AuditTrail(Protocol):
    """Who did what, when and why."""

    async def entry(self, kid: str, version: int) -> AuditEntry | None:
        """What made this version of a key. Raises Unavailable.

        MUST NOT look at more than a bounded part of the trail.
        """
        ...


class SpendStore(Protocol):
    """Where the use of limits is counted for all sidecars together."""

    @property
    def is_open(self) -> bool:
        """Can it be asked?"""
        ...

    def spend(
        self, charge: Charge, ask: SpendRequest, deliver: Callable[[SpendReply | Unavailable], None]
    ) -> None:
        """Take what the requests that are asked for cost.

        What is given back, or owed, is settled first, also when nothing is granted.

        MUST call `deliver` exactly once, never inside this call, within a bounded time, with the
        receipt, OutcomeUnknown when it may have been done, or another Unavailable when it was not.
        MUST NOT do it twice. Unreadable: the counters of this account are garbled.
        """
        ...


class LimitCounters(Protocol):
    """What was used of limits, for administration. Reads here are current and may be slow."""

    async def look(self, charge: Charge) -> SpendReply:
        """What would become of a request; nothing is taken. Raises Unreadable, Unavailable."""
        ...

    async def leases(self, accounts: Sequence[LimitGroup], now: int) -> list[list[Lease]]:
        """Who holds requests of each account in advance at `now`, in ms by the clock that counts.

        MUST be bounded, and leave out what cannot be read. Raises Unavailable.
        """
        ...

    async def reset(self, kid: str) -> None:
        """Forget what a key used, not what its project and tenant did. Raises Unavailable."""
        ...


class Probe(Protocol):
    """Counts. Called on the hot path: a plain addition, no I/O, no lock, no label from a client."""

    def decided(self, reason: Reason | None) -> None:
        """A request was refused for `reason`, or allowed (None)."""
        ...

    def reported(self, reason: Reason) -> None:
        """A request was allowed that is refused for `reason` where routes enforce."""
        ...

    def count(self, event: Event, times: int = 1) -> None:
        """Something happened, once or several times."""
        ...


class ResponseIds(NamedTuple):
    """The ids of a refusal. told: the one that the caller was told. charge: of the response."""

    told: str
    charge: str


class CheckObserver(Protocol):
    """Records Checks: durations, spans and log lines. MUST NOT wait."""

    stride: int
    """The number of Checks that are not timed after one that is."""

    def take_line(self, decision: Deny) -> bool:
        """Take a log line for this refusal. Called once for each; False if no line is left."""
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
