"""Follower: applies the store's changes in their order, and knows when one is missing.

Rules:
1. The position is the change up to which every one was applied. One notice or one entry of the
   log moves it, and only to the next number.
2. Where changes are missing (a new link, a heartbeat with another number, a gap between notices)
   they are read from the log, in pages, on the same link, and applied. Not in step until then.
3. The log covers a gap only if it holds the very change of the position, by its mark, and every
   number after that. Another change of that number means another history before it, too: a store
   that was restored, or that took over without our last changes.
4. A gap that is not covered, and a number that went back, mean flush and alarm. The flush happens
   where the store says its number, so that nothing can slip between it and the new position.
5. What cannot be understood is counted and ignored. It moves nothing, so the number shows it.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

from authz.core import fields
from authz.core.errors import Unavailable
from authz.core.events import Event
from authz.core.ports import ChangeSink, Clock, Probe
from authz.storage import notices, schema
from authz.storage.lag import LagHistogram
from authz.storage.link import Link, refusal
from authz.storage.notices import Notice

log = logging.getLogger("authz.store")

PAGE: Final = 1000  # log entries in one reply: a few milliseconds of the loop
QUIET_SECONDS: Final = 60.0


class Position(NamedTuple):
    """The last change applied. `mark`: what tells it from another of that number; "" if unknown."""

    seq: int
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Flush:
    """When, by the wall clock, and why everything cached was last forgotten as a precaution."""

    at: int
    why: str


class Follower:
    """Tells a ChangeSink of every change. `follow` it on a link, `compare` at every heartbeat."""

    def __init__(self, clock: Clock, probe: Probe) -> None:
        self._clock = clock
        self._probe = probe
        self._link: Link | None = None
        self._sink: ChangeSink
        self._caught_up: Callable[[], None]
        self._position: Position | None = None
        self._in_step = False  # the position was compared with this link's store
        self._newest_read = 0
        self._reading = False
        self._anchored = False  # the log was seen to hold the position
        self._garbage = _Garbage(clock)
        self.last_flush: Flush | None = None
        self.lag = LagHistogram()

    @property
    def seq(self) -> int | None:
        """The number of the last change applied."""
        return None if self._position is None else self._position.seq

    @property
    def is_reading(self) -> bool:
        """Is it behind, and reading the log?"""
        return self._reading

    def follow(self, link: Link, sink: ChangeSink, caught_up: Callable[[], None]) -> None:
        """Go on with a new link. `caught_up` is called when a heartbeat would now find it so."""
        self._link, self._sink, self._caught_up = link, sink, caught_up
        self._in_step = self._reading = False
        if self._position is not None and self._newest_read > self._position.seq:
            self._position = None  # of a change that we were not told of, and may be gone

    def saw(self, version: int) -> None:
        """A record of this version was read into the cache."""
        self._newest_read = max(self._newest_read, version)

    def notice(self, text: Any) -> None:
        """A notice came."""
        try:
            change = notices.decode_notice(text)
        except (ValueError, AttributeError):
            self._ignore(text)
            return
        self._sink.forget(change.kid, revoked=change.revoked)
        self._probe.count(Event.CHANGE_APPLIED)
        at = self._position
        if at is None or not self._in_step or self._reading or change.seq <= at.seq:
            return  # the next heartbeat or the log tells where we are; or it was repeated
        if change.seq == at.seq + 1:
            self._advance(change)
        else:
            self._probe.count(Event.CHANGE_GAP)
            self._read(change.seq)

    def compare(self, seq: int) -> bool:
        """A heartbeat says that `seq` is the store's last change. Are we in step?"""
        self._garbage.tell()
        if self._reading:
            return False
        at = self._position
        if at is None:
            self._begin(seq)
        elif seq < at.seq:
            self._probe.count(Event.SEQUENCE_WENT_BACK)
            self._alarm(f"the store went back from change {at.seq} to {seq}")
            self._begin(seq)
        elif seq > at.seq or not self._in_step:
            if self._in_step:
                self._probe.count(Event.CHANGE_GAP)
            self._read(seq)
            return False
        self._learn_mark()
        return True

    def _begin(self, seq: int) -> None:
        self._sink.flush()
        self._newest_read = 0
        self._position = Position(seq)
        self._in_step = True

    def _learn_mark(self) -> None:
        at = self._position
        if at is not None and at.seq and not at.mark and self._link is not None:
            name = f"{at.seq}-0"
            self._link.send(partial(self._on_mark, at), "XRANGE", schema.LOG, name, name)

    def _on_mark(self, at: Position, reply: Any) -> None:
        if self._position == at and isinstance(reply, list) and len(reply) == 1:
            change = self._decode(reply[0])
            self._position = Position(at.seq, change.mark) if change else at

    # the log

    def _read(self, target: int) -> None:
        at = self._position
        if self._link is None or at is None:
            return
        self._reading = True
        self._anchored = at.seq == 0  # before the first change there is nothing to find
        self._ask(self._link, target, f"{at.seq}-0")

    def _ask(self, link: Link, target: int, start: str) -> None:
        on_page = partial(self._on_page, link, target)
        link.send(on_page, "XRANGE", schema.LOG, start, "+", "COUNT", str(PAGE))

    def _on_page(self, link: Link, target: int, reply: Any) -> None:
        if link is not self._link:
            return
        if isinstance(reply, Unavailable):  # said by the link: a later heartbeat tries again
            self._reading = False
            return
        try:
            last = self._apply(reply)
            if len(reply) == PAGE:
                self._ask(link, target, f"({last}")
                return
            self._check_end(target)
        except _NotCoveredError as cause:
            self._position = None
            self._probe.count(Event.LOG_NOT_COVERED)
            self._alarm(str(cause))
        else:
            self._in_step = True
            self._probe.count(Event.LOG_REPLAYED)
        self._reading = False
        self._caught_up()

    def _apply(self, page: Any) -> str:
        """Apply a page of the log; returns the id of its last entry."""
        if not isinstance(page, list):
            raise _NotCoveredError(f"the log cannot be read: {refusal(page)}")
        last = ""
        for entry in page:
            change = self._decode(entry)
            last = str(entry[0])
            if change is not None:
                self._follow_on(change) if self._anchored else self._anchor(change)
        return last

    def _anchor(self, change: Notice) -> None:
        at = self._position or Position(0)
        if change.seq != at.seq:
            raise _NotCoveredError(f"after {at.seq}, the log has nothing before {change.seq}")
        if change.mark != at.mark:
            raise _NotCoveredError(f"the store's change {at.seq} is another than the one applied")
        self._anchored = True

    def _follow_on(self, change: Notice) -> None:
        at = self._position or Position(0)
        if change.seq != at.seq + 1:
            raise _NotCoveredError(f"after {at.seq}, the log goes on with {change.seq}")
        self._sink.forget(change.kid, revoked=change.revoked)
        self._probe.count(Event.CHANGE_APPLIED)
        self._advance(change)

    def _check_end(self, target: int) -> None:
        at = self._position or Position(0)
        if not self._anchored:
            raise _NotCoveredError(f"the log does not hold change {at.seq}")
        if at.seq < target:
            raise _NotCoveredError(f"the store is at change {target}, its log ends with {at.seq}")

    def _decode(self, entry: Any) -> Notice | None:
        try:
            name, found = entry
            return notices.decode_entry(name, dict(zip(found[::2], found[1::2], strict=True)))
        except (ValueError, TypeError, KeyError, AttributeError):
            self._ignore(entry)
            return None

    def _advance(self, change: Notice) -> None:
        self._position = Position(change.seq, change.mark)
        if change.at is not None:
            self.lag.add(self._clock.wall_ms() - change.at)

    def _alarm(self, why: str) -> None:
        self.last_flush = Flush(self._clock.wall_ms(), why)
        log.error("everything cached is forgotten: %s", why)

    def _ignore(self, what: Any) -> None:
        self._probe.count(Event.CHANGE_GARBLED)
        self._garbage.add(str(what))


class _NotCoveredError(Exception):
    """The log does not tell all that was missed."""


class _Garbage:
    """Speaks of what could not be understood at once, and then once a minute, with its count."""

    def __init__(self, clock: Clock) -> None:
        self._now = clock.monotonic
        self._count = 0
        self._example = ""
        self._quiet_until = float("-inf")

    def add(self, text: str) -> None:
        self._count += 1
        self._example = text[:80]
        self.tell()

    def tell(self) -> None:
        if self._count and self._now() >= self._quiet_until:
            log.warning(
                "ignored %d notices or log entries that are none, such as %s",
                self._count,
                fields.shown(self._example),
            )
            self._count = 0
            self._quiet_until = self._now() + QUIET_SECONDS
