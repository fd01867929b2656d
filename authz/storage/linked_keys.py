"""LinkedKeys: reads key records for the sidecar, on the link of the feed."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from authz.core.errors import BadSeal, Elsewhere, Fault, Unavailable, Unreadable
from authz.core.events import Event
from authz.core.ports import Loaded, Probe
from authz.core.records import KeyRecord
from authz.storage import encoding, meta
from authz.storage.feed import ChangeFeed
from authz.storage.field_codec import as_bytes
from authz.storage.index_members import short_member
from authz.storage.link import Link
from authz.storage.moved import leads_here, place, refuse_stray
from authz.storage.seals import StoreSeals
from authz.storage.stored_records import fields_of, is_absent, is_wrong_type

log = logging.getLogger("authz.store")


class LinkedKeys:
    """A KeySource on the feed's link, so that records and changes arrive in the store's order.

    seals: checks each record that is read; None: no seal is checked.
    """

    def __init__(self, feed: ChangeFeed, probe: Probe, seals: StoreSeals | None = None) -> None:
        self._feed = feed
        self._seals = seals
        self._names = feed.names
        self._probe = probe

    def load(self, kid: str, deliver: Callable[[Loaded], None]) -> None:
        """Request a record in one round trip and return at once. `deliver` is called once, later.

        It gets the record, or None if the key does not exist and authz:meta does (one more round
        trip). Otherwise it gets a Fault: Emptied without authz:meta, Unreadable for a bad record,
        BadSeal for a bad seal (both counted and logged), Elsewhere for a moved key, Unavailable
        without a link or for an error reply. A record in another form than authz:meta says takes
        one more round trip; a value that is no record at all takes two more.
        """
        link = self._feed.link
        if link is None:
            asyncio.get_running_loop().call_soon(deliver, Unavailable("not connected"))
            return
        name, form = self._names.key(kid), self._feed.meta.form
        if form is meta.Form.MIXED:
            self._ask_both(link, kid, deliver)
            return
        order = ("GET", "HGETALL") if form is meta.Form.COMPACT else ("HGETALL", "GET")
        link.send(partial(self._on_likely, link, kid, deliver, order[1]), order[0], name)

    def _ask_both(
        self, link: Link, kid: str, deliver: Callable[[Loaded], None], *, is_last: bool = False
    ) -> None:
        """Request the record in both forms. If it has neither, do so once more.

        A record changes its form at most once in a while: one that has none twice is none.
        """
        name, read = self._names.key(kid), partial(self._on_record, link, kid, deliver)

        def neither() -> None:
            if is_last:
                deliver(self._noted(Unreadable(f"record {kid}: it is neither a text nor a hash")))
            else:
                self._ask_both(link, kid, deliver, is_last=True)

        # The first reply with a record is delivered as it arrives, before any later notice.
        # GET is the first: a record that is rewritten meanwhile becomes compact.
        both = _FirstRight(read, neither)
        link.send(both.on_first, "GET", name)
        link.send(both.on_second, "HGETALL", name)

    def _on_likely(
        self, link: Link, kid: str, deliver: Callable[[Loaded], None], other: str, reply: Any
    ) -> None:
        def on_other(reply: Any) -> None:
            if is_wrong_type(reply):
                self._ask_both(link, kid, deliver, is_last=True)
            else:
                self._on_record(link, kid, deliver, reply)

        if is_wrong_type(reply):
            link.send(on_other, other, self._names.key(kid))
        else:
            self._on_record(link, kid, deliver, reply)

    def _on_record(
        self, link: Link, kid: str, deliver: Callable[[Loaded], None], reply: Any
    ) -> None:
        if not is_absent(reply):
            deliver(self._read(kid, reply))
            return
        on_presence: Callable[[Any], None] = partial(self._on_presence, kid, deliver)
        if self._feed.meta.may_have_moved and leads_here(kid, self._names):
            on_presence = self._look_elsewhere(link, kid, deliver)
        # The key is absent, or the store was emptied: then authz:meta is absent too. One EXISTS
        # checks both at the same moment. It counts a repeated name each time, so the count shows
        # which of the two exist.
        link.send(
            on_presence,
            "EXISTS",
            self._names.meta,
            self._names.meta,
            self._names.key(kid),
        )

    def _look_elsewhere(
        self, link: Link, kid: str, deliver: Callable[[Loaded], None]
    ) -> Callable[[Any], None]:
        """Request the entry of a moved key. Return what takes the reply to EXISTS, sent after it.

        That there is no entry proves something only together with that reply. An entry is right at
        any time.
        """
        entry: list[Any] = []
        link.send(entry.append, "HGET", self._names.moved, as_bytes(short_member(kid)))

        def on_presence(reply: Any) -> None:
            if entry[0] is None:
                self._on_presence(kid, deliver, reply)
            else:
                deliver(self._elsewhere(kid, entry[0]))

        return on_presence

    def _elsewhere(self, kid: str, reply: Any) -> Fault:
        if isinstance(reply, Fault):
            return reply
        if not isinstance(reply, str):
            return Unavailable(f"the store answered {str(reply)[:100]}")
        try:
            return Elsewhere(place(kid, reply, self._names))
        except Unreadable as cause:
            return self._noted(cause)

    def _noted(self, cause: Unreadable) -> Unreadable:
        """Count and log why a record may not be used."""
        is_seal = isinstance(cause, BadSeal)
        self._probe.count(Event.RECORD_BAD_SEAL if is_seal else Event.RECORD_UNREADABLE)
        log.error("%s", cause)
        return cause

    def _on_presence(self, kid: str, deliver: Callable[[Loaded], None], reply: Any) -> None:
        match reply:
            case 2:
                deliver(None)
            case 3:  # the key was issued between the read and EXISTS
                self.load(kid, deliver)
            case 0 | 1:
                deliver(meta.Emptied(self._feed.highest))
            case _:
                deliver(self._read(kid, reply))

    def _read(self, kid: str, reply: Any) -> KeyRecord | Fault:
        if isinstance(reply, Fault):
            return reply
        if not isinstance(reply, dict | str):
            return Unavailable(f"the store answered {str(reply)[:100]}")
        try:
            fields = fields_of(kid, reply)
            if self._seals is not None:
                self._seals.is_required = self._seals.is_required or self._feed.meta.is_sealed
                self._seals.check(kid, fields)
            record = encoding.decode(kid, fields)
            refuse_stray(record, self._names)
        except Unreadable as cause:
            return self._noted(cause)
        self._feed.record_read(record.version)
        return record


class _FirstRight:
    """Passes on the first of two replies that is not the error about another type.

    If both are, the record changed its form in between or is none, and `neither` is called.
    """

    def __init__(self, read: Callable[[Any], None], neither: Callable[[], None]) -> None:
        self._read = read
        self._neither = neither
        self._is_done = False

    def on_first(self, reply: Any) -> None:
        """Take the first reply."""
        if not is_wrong_type(reply):
            self._is_done = True
            self._read(reply)

    def on_second(self, reply: Any) -> None:
        """Take the second reply."""
        if self._is_done:
            return
        if is_wrong_type(reply):
            self._neither()
        else:
            self._read(reply)
