"""What a sidecar says of itself, and what follows from it for a change."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

# A word that is older than the change by more than this confirms nothing: it may be of another
# history of the store, from before a failover.
SPOKE_BEFORE_MS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """One sidecar, as it last said and the store has kept it.

    applied: every change up to this one is applied, and nothing older is held; None before that is
    known of this store. lease_ms: how long after a change it may serve what was true before, if it
    does not hear of it; grace_ms: how much longer in an outage, for keys without a grace of their
    own. trusted, reason: whether its link to the store was, and why not. entries: records that it
    keeps. seen: the highest change that it has seen in any store.
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
    settings: str = ""  # short hash of the settings in force; empty before version 0.2
    settings_at: int = 0  # when they were loaded, by the sidecar's clock


@dataclass(frozen=True, slots=True)
class FormerGrace:
    """The outage grace that a key had until the change of this number; None: none of its own."""

    until: int
    grace_ms: int | None


@dataclass(frozen=True, slots=True)
class Heard:
    """A sidecar, and how long ago it said so, by the store's clock."""

    sidecar: Sidecar
    silent_ms: int

    @property
    def is_trusted(self) -> bool:
        """Is its link to the store good, as far as can be told from here?"""
        return self.sidecar.trusted and self.silent_ms < self.sidecar.lease_ms

    def reach_ms(self, grace_ms: int | None = None) -> int:
        """For how long after a change, or after its last word, it may act on what was before.

        It speaks before each heartbeat and is trusted for a lease after the last one that was
        answered, so the earlier of the two counts. grace_ms: the key's own; None if it has none.
        """
        return self.sidecar.lease_ms + (self.sidecar.grace_ms if grace_ms is None else grace_ms)

    def has_applied(self, seq: int, elapsed_ms: int) -> bool:
        """Does it hold nothing that is older than this change, `elapsed_ms` ago?"""
        applied = self.sidecar.applied
        lately = self.silent_ms <= elapsed_ms + SPOKE_BEFORE_MS
        return lately and applied is not None and applied >= seq


@dataclass(frozen=True, slots=True)
class Outstanding:
    """A sidecar that has not confirmed a change, and until when it may act on what was before."""

    instance: str
    may_allow_until: int  # by the wall clock
    is_over: bool


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Which sidecars have applied a change, `elapsed_ms` after the store confirmed it."""

    confirmed: int
    outstanding: tuple[Outstanding, ...]
    elapsed_ms: int

    @property
    def is_complete(self) -> bool:
        """Can no sidecar act on what was before the change any more?"""
        return all(entry.is_over for entry in self.outstanding)

    @property
    def sidecars(self) -> int:
        """All that the change matters to."""
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
    """Where change `seq` of a key stands. `now`: milliseconds by the wall clock.

    A sidecar goes by the grace of the record that it holds, so the longest counts of all that the
    key had since the last change which it has applied. Whoever was silent for so long before the
    change that it could not have acted on the key any more does not matter to it.
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
            outstanding.append(Outstanding(each.sidecar.instance, now + left, left <= 0))
    return Confirmation(confirmed, tuple(outstanding), elapsed_ms)
