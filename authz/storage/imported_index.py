"""ImportedIndex: the sidecar's copy of the store's index of imported digests.

Rules:
1. The copy follows on the link of the change feed, so it is in the store's order: the notice of an
   import carries the entry and its number.
2. It proves that a digest is absent only while it is complete. Each heartbeat compares the number
   of entries and their checksum with the store's, and the change up to which the store's index is
   complete with the number of the last change. The proof ends if they differ, if an import is
   announced without the next entry, and with the link. It begins again only with a state of the
   store's index that has this import.
3. Missing entries are read in pages on the same link. A copy that contradicts the store is dropped
   and read again, at most once in RETRY_SECONDS.
4. An index with more than `max_entries` entries is not held.
5. No fault of the index ends trust. Without a proof each text costs a lookup, as without an index.
"""

import logging
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from authz.core.errors import Unavailable
from authz.core.keys.digest_index import ENTRY_DIGITS, DigestIndex
from authz.core.ports import Clock
from authz.storage import notices, schema
from authz.storage.index_state import STATE_LENGTH, IndexState, decode_state, offset
from authz.storage.link import Link, expect

log = logging.getLogger("authz.store")

PAGE: Final = 2000  # entries in one reply: about 1 ms of the event loop
RETRY_SECONDS: Final = 60.0


class ImportedIndex:
    """A KnownDigests that follows the index of the store. max_entries: 0 holds none."""

    def __init__(self, clock: Clock, names: schema.Names, max_entries: int) -> None:
        self._monotonic = clock.monotonic
        self._name = names.imported
        self._max_entries = max_entries
        self._held = DigestIndex()
        self._is_complete = False
        self._reading: Link | None = None
        self._is_refused = False  # on this link
        self._announced = 0  # change of the last import without the next entry, on this link
        self._wait_until = 0.0
        self._problem = ""

    @property
    def entries(self) -> int:
        """The number of entries while they prove absence, else 0."""
        return self._held.count if self._is_complete else 0

    def excludes(self, digests: Iterable[bytes]) -> bool:
        """Return whether none of these digests is that of an imported key. False if unproven.

        It is for a trusted store only.
        """
        return self._is_complete and not self._held.has_any(digests)

    def includes(self, digests: Iterable[bytes]) -> bool:
        """Return whether one of these digests is or was that of an imported key."""
        return self._held.has_any(digests)

    # The parser of the link calls these, in the store's order.

    def begin_link(self) -> None:
        """Prove nothing until a heartbeat has compared the copy with the store."""
        self._is_complete, self._reading, self._is_refused = False, None, False
        self._announced = 0

    def send(self, link: Link, seq: int) -> None:
        """Ask for the state of the store's index, after the store has named its last change."""
        if self._max_entries and not self._is_refused:
            last = str(STATE_LENGTH - 1)
            link.send(partial(self._on_state, link, seq), "GETRANGE", self._name, "0", last)

    def note(self, notice: str) -> None:
        """Add the entry of an import. An announcement without the next entry ends the proof."""
        found = notices.imported_entry(notice)
        if found is None or found.number != self._held.count + 1:
            self._is_complete = False  # a later heartbeat has the entries read
            with suppress(ValueError):
                self._announced = notices.decode_notice(notice).seq
        elif not self._drop_too_large(found.number):
            self._held.add(found.entry)

    def _on_state(self, link: Link, seq: int, reply: Any) -> None:
        if isinstance(reply, Unavailable):  # of the link or the cluster: the next heartbeat asks
            self._is_complete = False
            return
        try:
            state = decode_state(expect(str, reply))
        except Unavailable as cause:
            self._is_refused = True
            self._doubt(f"it cannot be read: {cause}")
            return
        if state is None or state.seq < max(seq, self._announced):
            self._doubt("imports may be missing from it; run `authz init`" if state else "")
        elif self._drop_too_large(state.entries):
            self._doubt(f"it has more than keys.imported_index ({self._max_entries}) entries")
        elif self._reading is None:
            self._compare(link, state)

    def _compare(self, link: Link, state: IndexState) -> None:
        held = self._held
        if (state.entries, state.checksum) == (held.count, held.checksum):
            self._is_complete, self._problem = True, ""
        elif state.entries > held.count:
            self._read(link, seq=state.seq)
        elif self._monotonic() >= self._wait_until:
            self._wait_until = self._monotonic() + RETRY_SECONDS
            self._doubt("it is another one than before, so it is read again")
            self._held = DigestIndex()
            self._read(link, seq=state.seq)

    def _read(self, link: Link, seq: int) -> None:
        self._is_complete, self._reading = False, link
        start = self._held.count
        first, last = str(offset(start)), str(offset(start + PAGE) - 1)
        link.send(partial(self._on_page, link, seq, start), "GETRANGE", self._name, first, last)

    def _on_page(self, link: Link, seq: int, start: int, reply: Any) -> None:
        if self._reading is not link:
            return
        self._reading = None
        try:
            page = expect(str, reply)
            announced = self._held.count - start  # by notices, since the page was asked for
            self._held.add(page[announced * ENTRY_DIGITS :])
        except (Unavailable, ValueError) as cause:
            self._doubt(f"it cannot be read: {cause}")
            return
        if self._drop_too_large(self._held.count):
            self._doubt(f"it has more than keys.imported_index ({self._max_entries}) entries")
        elif len(page) == PAGE * ENTRY_DIGITS:
            self._read(link, seq)
        else:
            self.send(link, seq)

    def _drop_too_large(self, count: int) -> bool:
        """Return whether so many entries are too many. Then the copy is dropped."""
        if count <= self._max_entries:
            return False
        if self._held.count:
            self._held = DigestIndex()
        self._is_complete = False
        return True

    def _doubt(self, problem: str) -> None:
        self._is_complete = False
        if problem and problem != self._problem:
            log.warning("the index of imported keys is not used: %s", problem)
        self._problem = problem
