"""In-memory twins of the ports, and builders of values. What they promise, the real parts promise.

MemoryKeyStore passes the same suite as the store on Redis does.
"""

import asyncio
import enum
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from authz.core.audit import AuditEvent
from authz.core.changes import KeyChange
from authz.core.decision import Reason
from authz.core.deletion import Removal, RemovedEntry
from authz.core.errors import (
    AliasTaken,
    Conflict,
    Deleted,
    Fault,
    OutcomeUnknown,
    Unavailable,
)
from authz.core.events import Event
from authz.core.keys.credentials import Alias
from authz.core.keys.keyring import Keyring
from authz.core.keys.pepper import Pepper
from authz.core.ports import Loaded, LoadedAlias
from authz.core.records import KeyRecord, Secret, Status
from authz.core.request import Request, Route
from authz.core.trail.rows import row_hash
from authz.flows.cache_contents import CacheContents
from authz.flows.packed_records import pack

NOW = 1_750_000_000_000  # milliseconds; where FakeClock begins
DAY = 86_400_000
KID = "7Hk2mQ9xT4bVzR1c"


class FakeClock:
    """A Clock that moves when it is told to."""

    def __init__(self, wall_ms: int = NOW, monotonic: float = 1000.0) -> None:
        self._wall_ms = wall_ms
        self._monotonic = monotonic

    def wall_ms(self) -> int:
        """Implement Clock.wall_ms."""
        return self._wall_ms

    def monotonic(self) -> float:
        """Implement Clock.monotonic."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Time passes."""
        self._wall_ms += round(seconds * 1000)
        self._monotonic += seconds

    def jump_wall(self, ms: int) -> None:
        """Somebody sets the wall clock."""
        self._wall_ms += ms


class Failure(enum.Enum):
    """How one `apply` of a MemoryKeyStore goes wrong."""

    NOT_SENT = enum.auto()  # Unavailable, nothing was done
    NOT_APPLIED = enum.auto()  # OutcomeUnknown, nothing was done
    APPLIED = enum.auto()  # OutcomeUnknown, it was done


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One change, as sidecars are told of it."""

    seq: int
    kid: str
    revoked: bool


class MemoryKeyStore:
    """A KeyStore and an ImportStore in memory.

    failures: what the next calls of `apply` and `apply_all` do, one each, None for no failure.
    down: nothing reaches the store.
    """

    def __init__(self) -> None:
        self.records: dict[str, KeyRecord] = {}
        self.aliases: dict[bytes, str] = {}  # digest -> kid
        self.has_imports = False
        self.audit: list[tuple[int, str, AuditEvent]] = []  # sequence number, kid, event
        self.log: list[LogEntry] = []
        self.seq = 0
        self.gone: set[str | bytes] = set()  # kids and digests of deleted keys
        self.applied: list[KeyChange] = []  # every change that was asked for, in order
        self.failures: deque[Failure | None] = deque()
        self.down = False
        self._change_ids: dict[str, str] = {}  # kid -> the change that wrote its record

    async def find(self, kid: str) -> KeyRecord | None:
        """Implement KeyStore.find. Yields once, so that two callers can read the same version."""
        await asyncio.sleep(0)
        if self.down:
            raise Unavailable("the store cannot be used: it is down")
        return self.records.get(kid)

    async def apply(self, change: KeyChange) -> int:
        """Implement KeyStore.apply."""
        (outcome,) = await self.apply_all([change])
        if isinstance(outcome, Fault):
            raise outcome
        return outcome

    async def allow_imports(self) -> None:
        """Implement ImportStore.allow_imports."""
        await asyncio.sleep(0)
        if self.down:
            raise Unavailable("the store cannot be used: it is down")
        self.has_imports = True

    async def resolve_all(self, digests: Sequence[Sequence[bytes]]) -> list[str | Deleted | None]:
        """Implement ImportStore.resolve_all."""
        await asyncio.sleep(0)
        if self.down:
            raise Unavailable("the store cannot be used: it is down")
        return [
            next((self.aliases[d] for d in known if d in self.aliases), None)
            or (None if self.gone.isdisjoint(known) else Deleted())
            for known in digests
        ]

    async def apply_all(self, changes: Sequence[KeyChange]) -> list[int | Fault]:
        """Implement ImportStore.apply_all."""
        await asyncio.sleep(0)
        self.applied.extend(changes)
        failure = self.failures.popleft() if self.failures else None
        if self.down or failure is Failure.NOT_SENT:
            raise Unavailable("the store cannot be used: it is down")
        if failure is Failure.NOT_APPLIED:
            raise OutcomeUnknown("the store did not confirm the change")
        outcomes: list[int | Fault] = []
        for change in changes:
            try:
                outcomes.append(self.apply_now(change))
            except (Conflict, AliasTaken, Deleted) as fault:
                outcomes.append(fault)
        if failure is Failure.APPLIED:
            raise OutcomeUnknown("the store did not confirm the change")
        return outcomes

    async def replicas(self, change: KeyChange, version: int) -> int | None:
        """Implement KeyStore.replicas. There are none."""

    async def entries(self, record: KeyRecord) -> Sequence[RemovedEntry]:
        """Implement DeletionStore.entries."""
        found = [(seq, event) for seq, kid, event in self.audit if kid == record.kid]
        return [
            RemovedEntry(f"{seq}-0", row_hash(f"{seq}-0", {"action": event.action}))
            for seq, event in reversed(found)
        ]

    async def delete(self, removal: Removal) -> int:
        """Implement DeletionStore.delete."""
        await asyncio.sleep(0)
        if self.down:
            raise Unavailable("the store cannot be used: it is down")
        kid = removal.record.kid
        current = self.records.get(kid)
        if current is None and kid in self.gone:
            return self.seq
        if current is None or current.version != removal.record.version:
            raise Conflict(f"{kid} is at another version")
        self.seq += 1
        aliases = {digest for digest, owner in self.aliases.items() if owner == kid}
        self.aliases = {d: owner for d, owner in self.aliases.items() if owner != kid}
        self.gone |= {kid, *aliases}
        del self.records[kid]
        self.log.append(LogEntry(self.seq, kid, revoked=True))
        removed = {entry.id for entry in removal.entries}
        self.audit = [entry for entry in self.audit if f"{entry[0]}-0" not in removed]
        self.audit.append((self.seq, kid, removal.event))
        return self.seq

    async def read(self, kids: Sequence[str]) -> Sequence[KeyRecord | None]:
        """Implement RecordReader.read."""
        return [await self.find(kid) for kid in kids]

    def apply_now(self, change: KeyChange) -> int:
        """Apply a change, as the store does in one atomic step."""
        kid = change.record.kid
        for digest in change.aliases:
            if self.aliases.get(digest, kid) != kid:
                raise AliasTaken(self.aliases[digest])
        if not change.base_version and self.gone & {kid, *change.aliases}:
            raise Deleted
        current = self.records.get(kid)
        version = current.version if current else 0
        if current is not None and self._change_ids[kid] == change.id:
            return version
        if version != change.base_version:
            raise Conflict(f"{kid} is at version {version}, not {change.base_version}")
        self.seq += 1
        self.records[kid] = replace(change.record, version=self.seq)
        self._change_ids[kid] = change.id
        for digest in change.aliases[:1]:
            self.aliases[digest] = kid
        self.log.append(LogEntry(self.seq, kid, change.record.status is Status.REVOKED))
        self.audit.append((self.seq, kid, change.event))
        return self.seq


class MemoryRequestStore:
    """A RequestStore in memory, in which an entry stays for ever."""

    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    async def remember(self, name: str, entry: str, ms: int) -> str | None:
        """Implement RequestStore.remember."""
        del ms
        await asyncio.sleep(0)
        if name in self.entries:
            return self.entries[name]
        self.entries[name] = entry
        return None


class MemorySessionEnds:
    """A SessionEnds in memory, in which an end stays for ever. down: nothing reaches the store."""

    def __init__(self) -> None:
        self.ends: dict[str, int] = {}
        self.down = False

    async def ended(self, names: Sequence[str]) -> Sequence[int | None]:
        """Implement SessionEnds.ended."""
        await asyncio.sleep(0)
        self._check()
        return [self.ends.get(name) for name in names]

    async def end(self, name: str, until: int, ms: int) -> None:
        """Implement SessionEnds.end."""
        del ms
        await asyncio.sleep(0)
        self._check()
        self.ends[name] = max(until, self.ends.get(name, until))

    def _check(self) -> None:
        if self.down:
            raise Unavailable("the store cannot be used: it is down")


class MemoryKeySource:
    """A KeySource that answers when it is told to. `loads` counts what was asked, by kid."""

    def __init__(self) -> None:
        self.records: dict[str, KeyRecord] = {}
        self.loads: Counter[str] = Counter()
        self._pending: list[tuple[str, Callable[[Loaded], None]]] = []

    def load(self, kid: str, deliver: Callable[[Loaded], None]) -> None:
        """Implement KeySource.load."""
        self.loads[kid] += 1
        self._pending.append((kid, deliver))

    @property
    def pending(self) -> list[str]:
        """The kids whose loads wait for an answer, oldest first."""
        return [kid for kid, _ in self._pending]

    def answer(self, kid: str, loaded: Loaded) -> None:
        """Answer the oldest load of `kid`."""
        position = self.pending.index(kid)
        _, deliver = self._pending.pop(position)
        deliver(loaded)

    def answer_all(self) -> None:
        """Answer every load from `records`, in order."""
        for kid in self.pending:
            self.answer(kid, self.records.get(kid))


class MemoryAliasSource:
    """An AliasSource that answers when it is told to. `lookups` counts them by newest digest."""

    def __init__(self) -> None:
        self.kids: dict[bytes, str] = {}
        self.known: bool | None = True  # what it says of whether there are imports
        self.lookups: Counter[bytes] = Counter()
        self.pending: list[tuple[Sequence[bytes], Callable[[LoadedAlias], None]]] = []

    def has_imports(self) -> bool | None:
        """Implement AliasSource.has_imports."""
        return self.known

    def resolve(self, digests: Sequence[bytes], deliver: Callable[[LoadedAlias], None]) -> None:
        """Implement AliasSource.resolve."""
        self.lookups[digests[0]] += 1
        self.pending.append((digests, deliver))

    def answer(self, loaded: LoadedAlias) -> None:
        """Answer the oldest lookup."""
        self.pending.pop(0)[1](loaded)

    def answer_all(self) -> None:
        """Answer every lookup from `kids`, in order."""
        while self.pending:
            known = [digest for digest in self.pending[0][0] if digest in self.kids]
            self.answer(Alias(self.kids[known[0]], known[0]) if known else None)


class MemoryDigests:
    """A KnownDigests. `complete` tells whether `known` are all digests of imported keys."""

    def __init__(self) -> None:
        self.known: set[bytes] = set()
        self.complete = False

    def excludes(self, digests: Iterable[bytes]) -> bool:
        """Implement KnownDigests.excludes."""
        return self.complete and self.known.isdisjoint(digests)

    def includes(self, digests: Iterable[bytes]) -> bool:
        """Implement KnownDigests.includes."""
        return not self.known.isdisjoint(digests)


class RecordingProbe:
    """A Probe that remembers."""

    def __init__(self) -> None:
        self.decisions: list[Reason | None] = []
        self.reports: list[Reason] = []
        self.events: Counter[Event] = Counter()

    def decided(self, reason: Reason | None) -> None:
        """Implement Probe.decided."""
        self.decisions.append(reason)

    def reported(self, reason: Reason) -> None:
        """Implement Probe.reported."""
        self.reports.append(reason)

    def count(self, event: Event, times: int = 1) -> None:
        """Implement Probe.count."""
        self.events[event] += times


def make_pepper(version: str = "1", secret: bytes | None = None) -> Pepper:
    """A pepper that is the same in every run."""
    return Pepper.expand(version, secret or version.encode() * 32)


def make_keyring(prefix: str = "ak", *versions: str, issuer: str = "") -> Keyring:
    """A keyring of `versions`, newest last; of version 1 alone when none is given."""
    peppers = [make_pepper(version) for version in versions or ("1",)]
    return Keyring(prefix, peppers, issuer=issuer)


def make_record(**overrides) -> KeyRecord:
    """An active live key without restrictions, issued at NOW, that never expires."""
    return KeyRecord(
        **{
            "kid": KID,
            "version": 1,
            "status": Status.ACTIVE,
            "env": "live",
            "client_id": "acme-web",
            "created_at": NOW,
            "secrets": (Secret("1", bytes(range(32)), "1", NOW),),
        }
        | overrides
    )


def make_contents(
    *records: KeyRecord,
    revoked: Sequence[str] = (),
    last_trusted: float,
    aliases: Sequence[tuple[bytes, str]] = (),
) -> CacheContents:
    """Return the contents of a cache with these records."""
    packed = {record.kid: pack(record) for record in records}
    return CacheContents(packed, list(revoked), last_trusted, aliases)


def issue_record(keyring: Keyring, **overrides) -> tuple[KeyRecord, str]:
    """A record and the key text that opens it. `kid` and `env` shape the text too."""
    minted = keyring.mint(overrides.get("env", "live"), overrides.get("kid"))
    secret = Secret("1", minted.digest, minted.pepper_version, overrides.get("created_at", NOW))
    return make_record(**{"kid": minted.kid, "secrets": (secret,)} | overrides), minted.text


def make_request(*, headers: Mapping[str, str] | None = None, **overrides) -> Request:
    """A request without a credential, on a route that asks for nothing."""
    return Request(
        **{
            "credential": None,
            "carrier": "x-api-key",
            "route": Route(),
            "method": "GET",
            "host": "api.example.com",
            "path": "/v1/models",
            "client_address": "203.0.113.7",
            "headers": {name: value.encode() for name, value in (headers or {}).items()},
        }
        | overrides
    )
