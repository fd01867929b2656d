"""Follower: applies the store's changes in order, and detects missing ones.

Rules:
1. The position is the last change up to which all changes were applied. One notice or one entry of
   the log moves it, and only to the next number.
2. Changes are missing after a new link, a heartbeat with another number, or a gap between notices.
   The follower then reads them from the log, in pages, on the same link, and applies them. It is
   not in step until that is done.
3. The log covers a gap only if it holds the change of the position, with the same mark, and every
   number after it. Another change under that number means that the store has another history: it
   was restored, or a replica took over without our last changes.
4. If the log does not cover a gap, or if the number went back, the cache is flushed and an error is
   logged. The flush happens when a heartbeat reports the store's number. So no change can fall
   between the flush and the new position.
5. A notice or log entry that cannot be read is counted and ignored. It does not move the position,
   so the next heartbeat reveals it.
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
from authz.storage.link import Link
from authz.storage.notices import Notice
from authz.storage.refusals import refusal

log = logging.getLogger("authz.store")
ignored_log = logging.getLogger("authz.store.ignored")  # bounded: see telemetry/logs.py

PAGE: Final = 1000  # log entries in one reply: a few milliseconds of the event loop


class Position(NamedTuple):
    """The last change applied.

    mark: tells it from another change of the same number; "" if unknown.
    """

    seq: int
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Flush:
    """The time (wall clock, ms since the epoch) and reason of a flush because of missed changes."""

    at: int
    why: str


class Follower:
    """Passes every change to a ChangeSink, and flushes it if changes were missed for good.

    Call `follow` for each new link, `notice` for each notice, and `catch_up` at each heartbeat.
    """

    def __init__(self, clock: Clock, probe: Probe, names: schema.Names = schema.DEFAULT) -> None:
        self._clock = clock
        self._names = names
        self._probe = probe
        self._link: Link | None = None
        self._sink: ChangeSink
        self._caught_up: Callable[[], None]
        self._position: Position | None = None
        self._compared = False  # the position was compared with this link's store
        self._newest_read = 0
        self._highest = 0  # before the sequence went back
        self._reading = False
        self._anchored = False  # the log holds the change of the position
        self.last_flush: Flush | None = None
        self.lag = LagHistogram()

    @property
    def seq(self) -> int | None:
        """The number of the last change applied.

        None before the first `catch_up`, and after the log did not cover missed changes or a record
        was newer than all notices. Then the next `catch_up` flushes.
        """
        return None if self._position is None else self._position.seq

    @property
    def highest(self) -> int:
        """The highest change number seen in any store, also as the version of a record.

        0 if none.
        """
        return max(self._highest, self.seq or 0, self._newest_read)

    @property
    def is_reading(self) -> bool:
        """True if missed changes are being read from the log."""
        return self._reading

    @property
    def is_in_step(self) -> bool:
        """True if all changes up to the number of the last heartbeat are applied on this link."""
        return self._compared and not self._reading

    def follow(self, link: Link, sink: ChangeSink, caught_up: Callable[[], None]) -> None:
        """Continue on a new link.

        Until `catch_up` has compared the position, `is_in_step` is False. `caught_up` is called
        after each reading of the log has ended, also if the log did not cover the gap.
        """
        self._link, self._sink, self._caught_up = link, sink, caught_up
        self._compared = self._reading = False
        if self._position is not None and self._newest_read > self._position.seq:
            # The cache holds a record of a change that no notice announced. A failover may have
            # lost that change, so the position proves nothing.
            self._position = None

    def record_read(self, version: int) -> None:
        """Note that a record of this version (change number) was read. It may raise `highest`."""
        self._newest_read = max(self._newest_read, version)

    def notice(self, text: Any) -> None:
        """Apply one notice.

        Drop its key from the sink, even if the notice is repeated or out of order. The next number
        advances the position; a gap starts reading the log. A notice that cannot be read is
        counted, logged and ignored.
        """
        try:
            change = notices.decode_notice(text)
        except (ValueError, AttributeError):
            self._ignore(text)
            return
        self._sink.forget(change.kid, revoked=change.revoked)
        self._probe.count(Event.CHANGE_APPLIED)
        at = self._position
        if at is None or not self.is_in_step or change.seq <= at.seq:
            return  # a repeated notice, or the next heartbeat or log page sets the position
        if change.seq == at.seq + 1:
            self._advance(change)
        else:
            self._probe.count(Event.CHANGE_GAP)
            self._read(change.seq)

    def catch_up(self, seq: int) -> None:
        """Compare the position with `seq`, the store's last change. Call it at each heartbeat.

        Without a position, the sink is flushed and the position becomes `seq`. If `seq` went back,
        an error is logged too. If `seq` is ahead, or the link is new, the log is read, and
        `is_in_step` is False until that ends. Does nothing while the log is being read.
        """
        if self._reading:
            return
        at = self._position
        if at is None:
            self._begin(seq)
        elif seq < at.seq:
            self._probe.count(Event.SEQUENCE_WENT_BACK)
            self._alarm(f"the store went back from change {at.seq} to {seq}")
            self._begin(seq)
        elif seq > at.seq or not self._compared:
            if self._compared:
                self._probe.count(Event.CHANGE_GAP)
            self._read(seq)
            return
        self._request_mark()

    def _begin(self, seq: int) -> None:
        self._highest = self.highest
        self._sink.flush()
        self._newest_read = 0
        self._position = Position(seq)
        self._compared = True

    def _request_mark(self) -> None:
        at = self._position
        if at is not None and at.seq and not at.mark and self._link is not None:
            name = f"{at.seq}-0"
            self._link.send(partial(self._on_mark, at), "XRANGE", self._names.log, name, name)

    def _on_mark(self, at: Position, reply: Any) -> None:
        if self._position == at and isinstance(reply, list) and len(reply) == 1:
            change = self._decode(reply[0])
            self._position = Position(at.seq, change.mark) if change else at

    # Reading missed changes from the log.

    def _read(self, target: int) -> None:
        at = self._position
        if self._link is None or at is None:
            return
        self._reading = True
        self._anchored = at.seq == 0  # the log has no entry before the first change
        self._request_page(self._link, target, f"{at.seq}-0")

    def _request_page(self, link: Link, target: int, start: str) -> None:
        on_page = partial(self._on_page, link, target)
        link.send(on_page, "XRANGE", self._names.log, start, "+", "COUNT", str(PAGE))

    def _on_page(self, link: Link, target: int, reply: Any) -> None:
        if link is not self._link:
            return
        if isinstance(reply, Unavailable):  # from the link itself: a later heartbeat tries again
            self._reading = False
            return
        try:
            last = self._apply(reply)
            if len(reply) == PAGE:
                self._request_page(link, target, f"({last}")
                return
            self._check_end(target)
        except _NotCoveredError as cause:
            self._position = None
            self._probe.count(Event.LOG_NOT_COVERED)
            self._alarm(str(cause))
        else:
            self._compared = True
            self._probe.count(Event.LOG_REPLAYED)
        self._reading = False
        self._caught_up()

    def _apply(self, page: Any) -> str:
        """Apply a page of the log; return the id of its last entry, "" for an empty page.

        Raises _NotCoveredError if `page` is no list, or its changes do not follow the position
        without a gap.
        """
        if not isinstance(page, list):
            raise _NotCoveredError(f"the log cannot be read: {refusal(page)}")
        last = ""
        for entry in page:
            change = self._decode(entry)
            last = str(entry[0])
            if change is not None:
                self._apply_next(change) if self._anchored else self._anchor(change)
        return last

    def _anchor(self, change: Notice) -> None:
        at = self._position or Position(0)
        if change.seq != at.seq:
            raise _NotCoveredError(f"after {at.seq}, the log has nothing before {change.seq}")
        if change.mark != at.mark:
            raise _NotCoveredError(f"the store's change {at.seq} is another than the one applied")
        self._anchored = True

    def _apply_next(self, change: Notice) -> None:
        at = self._position or Position(0)
        if change.seq != at.seq + 1:
            raise _NotCoveredError(f"after {at.seq}, the log continues with {change.seq}")
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
        log.error("the cache is flushed: %s", why)

    def _ignore(self, found: Any) -> None:
        self._probe.count(Event.CHANGE_GARBLED)
        text = fields.shown(str(found)[:80])
        ignored_log.warning("ignored a notice or log entry that cannot be read: %s", text)


class _NotCoveredError(Exception):
    """The log does not hold all missed changes."""
