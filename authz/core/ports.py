"""Ports of the sidecar, and the clock: the interfaces that outer packages implement.

A port has at most three methods. MUST marks an obligation of the implementation. A flow relies on
it and cannot check it.
"""

from __future__ import annotations  # the types are for readers and checkers alone

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from authz.core.decision import Decision, Deny, Reason
    from authz.core.errors import Fault
    from authz.core.events import Event
    from authz.core.keys.credentials import Alias
    from authz.core.records import KeyRecord
    from authz.core.request import Request


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


Loaded: TypeAlias = "KeyRecord | Fault | None"


class KeySource(Protocol):
    """Loads records for the cache."""

    def load(self, kid: str, deliver: Callable[[Loaded], None]) -> None:
        """Request a record and return at once.

        `deliver` gets the record, None if there is no such key, or a Fault if that is unknown:
        Elsewhere for a moved key.
        MUST call `deliver` exactly once, and never before `load` has returned.
        MUST deliver in the order of the store's replies, also relative to calls of ChangeSink: a
        record that was read before a change is delivered before `forget` for that change.
        MUST NOT deliver None from a store that was emptied.
        """
        ...


LoadedAlias: TypeAlias = "Alias | Fault | None"


class AliasSource(Protocol):
    """Loads the kids of imported keys."""

    def has_imports(self) -> bool | None:
        """Return whether keys were ever imported; None while that is unknown."""
        ...

    def resolve(self, digests: Sequence[bytes], deliver: Callable[[LoadedAlias], None]) -> None:
        """Request the alias of the first of `digests` that has one, and return at once.

        `deliver` gets the alias, None if no digest has one, or a Fault if that is unknown.
        MUST call `deliver` as KeySource does: once, never before `resolve` has returned, and in the
        order of the store's replies. MUST NOT deliver None from a store that is not ours.
        """
        ...


class KnownDigests(Protocol):
    """Knows the digests of all imported keys. It does no I/O."""

    def excludes(self, digests: Iterable[bytes]) -> bool:
        """Return whether none of these digests is that of an imported key. False if unproven.

        It holds only while the store is trusted.
        """
        ...

    def includes(self, digests: Iterable[bytes]) -> bool:
        """Return whether one of these digests is or was that of an imported key."""
        ...


class ChangeSink(Protocol):
    """Receives changes. The caches implement it."""

    def forget(self, kid: str, *, revoked: bool) -> None:
        """Drop the cached record of a key that was changed. `revoked`: remember that, for ever."""
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
    """The ids of a refusal. request_id: the caller sees this one. charge: its charge id."""

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
