"""Registry entries of sidecars, and the confirmation of a change that follows from them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from authz.core.fields import MAX_OUTAGE_GRACE_MS

# An entry that is older than the change by more than this confirms nothing. It may be from before a
# failover, when the store had another history.
SPOKE_BEFORE_MS: Final = 1000
MAX_LEASE_MS: Final = 600_000  # of an entry: more than any settings give


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """The last registry entry of a sidecar.

    applied: the sidecar has applied every change up to this one, and caches nothing older. None if
    this is not known for this store yet.
    lease_ms: how long it may serve an old record after a change that it does not hear of.
    grace_ms: how much longer during an outage, for keys without a grace of their own.
    trusted, reason: whether its link to the store is trusted, and if not, why.
    entries: the number of cached records.
    seen: the highest change that it has seen in any store.
    charges, issued: the prefix of its charge ids, and how many it has given out. Every response has
    one, also a response for which the proxy no longer waited. "" and 0 from a version that
    reports none.
    reads_compact: it reads compact records, too. Earlier versions do not say so.
    """

    instance: str
    version: str
    address: str
    started_at: int
    applied: int | None
    lease_ms: int
    grace_ms: int
    trusted: bool
    reason: str
    entries: int
    seen: int = 0
    settings: str = ""  # short hash of the settings in force; empty if its version reports none
    settings_at: int = 0  # when they were loaded, by the sidecar's clock
    charges: str = ""
    issued: int = 0
    reads_compact: bool = False


@dataclass(frozen=True, slots=True)
class Issued:
    """How many charge ids a sidecar process has given out.

    charges: their prefix. instance: the sidecar. ended: the process stopped in good order, so
    `count` is final. Of a process that was killed, `count` stays that of its last heartbeat.
    """

    charges: str
    instance: str
    count: int
    ended: bool


@dataclass(frozen=True, slots=True)
class FormerGrace:
    """The outage grace of a key until change `until`. None: the sidecar's setting applied."""

    until: int
    grace_ms: int | None


@dataclass(frozen=True, slots=True)
class Heard:
    """A sidecar's entry and its age, by the store's clock.

    doubt: why the entry proves nothing, such as a wrong seal; "" for a good one. It may stand for a
    sidecar that serves, so it counts as one that has applied nothing, with the longest reach.
    """

    sidecar: Sidecar
    silent_ms: int
    doubt: str = ""

    @property
    def is_trusted(self) -> bool:
        """True if the entry says the link is trusted, and is younger than the sidecar's lease."""
        return self.sidecar.trusted and self.silent_ms < self.sidecar.lease_ms

    def reach_ms(self, grace_ms: int | None = None) -> int:
        """Return how many ms the sidecar may serve an old record: its lease plus the grace.

        It counts from the change or from the last entry, from the earlier one: a sidecar writes an
        entry before each heartbeat, and is trusted for a lease after the last heartbeat that came
        back. grace_ms: the key's own; None for the sidecar's.
        """
        return self.sidecar.lease_ms + (self.sidecar.grace_ms if grace_ms is None else grace_ms)

    def has_applied(self, seq: int, elapsed_ms: int) -> bool:
        """Return whether a recent entry confirms change `seq`, which was made `elapsed_ms` ago.

        Recent: written after the change, or at most SPOKE_BEFORE_MS (1000) before it. False if the
        sidecar does not know what it has applied.
        """
        applied = self.sidecar.applied
        lately = self.silent_ms <= elapsed_ms + SPOKE_BEFORE_MS
        return lately and applied is not None and applied >= seq


def doubtful(instance: str, doubt: str) -> Heard:
    """Return an entry that proves nothing. doubt: why."""
    sidecar = Sidecar(
        instance=instance,
        version="",
        address="",
        started_at=0,
        applied=None,
        lease_ms=MAX_LEASE_MS,
        grace_ms=MAX_OUTAGE_GRACE_MS,
        trusted=False,
        reason=doubt,
        entries=0,
    )
    return Heard(sidecar, 0, doubt)


@dataclass(frozen=True, slots=True)
class Outstanding:
    """A sidecar that has not confirmed a change.

    may_allow_until: ms since the epoch until which it may serve an old record. is_over: this time
    has passed, so the sidecar can no longer serve it. doubt: why its entry proves nothing, or "".
    """

    instance: str
    may_allow_until: int  # by the wall clock
    is_over: bool
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The number of sidecars that have applied a change, and those that have not.

    A sidecar that could not serve the key any more is in neither. elapsed_ms: the time since the
    store confirmed the change.
    """

    confirmed: int
    outstanding: tuple[Outstanding, ...]
    elapsed_ms: int

    @property
    def is_complete(self) -> bool:
        """True if no sidecar can serve a record from before the change, or if there is none."""
        return all(entry.is_over for entry in self.outstanding)

    @property
    def sidecars(self) -> int:
        """The number of sidecars that may have cached the key: confirmed and outstanding ones."""
        return self.confirmed + len(self.outstanding)


def confirmation(
    heard: Iterable[Heard],
    seq: int,
    grace_ms: int | None,
    elapsed_ms: int,
    now: int,
    *,
    former: Sequence[FormerGrace] = (),
) -> Confirmation:
    """Return the confirmation of change `seq` of a key. `now`: milliseconds by the wall clock.

    A sidecar uses the grace of the record that it caches. So the longest grace counts that the key
    had since the last change that the sidecar has applied. A sidecar is left out if it was silent
    for so long before the change that it could not serve the key any more.
    """
    confirmed, outstanding = 0, []
    for each in heard:
        applied = each.sidecar.applied or 0
        known = [grace_ms, *(one.grace_ms for one in former if applied < one.until)]
        reach = max(map(each.reach_ms, known))
        if each.silent_ms - elapsed_ms >= reach:
            continue
        if each.has_applied(seq, elapsed_ms):
            confirmed += 1
        else:
            left = reach - max(each.silent_ms, elapsed_ms)
            name = each.sidecar.instance
            outstanding.append(Outstanding(name, now + left, left <= 0, each.doubt))
    return Confirmation(confirmed, tuple(outstanding), elapsed_ms)
