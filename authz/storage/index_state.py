"""The state at the beginning of the store's index of imported digests.

The index is one string: the state, and behind it the entries (core/keys/digest_index.py), in the
order in which the keys were imported. Entries are never removed. lua/change_steps.lua brings the
state to the number of each change, if it is at the change before. So a change by a version of
authz that does not know the index leaves the state behind for good. That shows that entries may be
missing, until `authz init` makes the index again.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from authz.core.keys.digest_index import ENTRY_DIGITS, checksum_of

_STATE: Final = re.compile(r"(\d{16}) (\d{12}) (\d{15})\n", re.ASCII)
STATE_LENGTH: Final = 46  # characters, also in lua/change_steps.lua


class IndexState(NamedTuple):
    """The index has all imports up to change `seq`.

    entries: their number, repeated ones included. checksum: as in DigestIndex.
    """

    seq: int
    entries: int
    checksum: int

    def encoded(self) -> str:
        """Return the text that stands at the beginning of the string."""
        return f"{self.seq:016d} {self.entries:012d} {self.checksum:015d}\n"


def decode_state(text: str) -> IndexState | None:
    """Return the state, or None if there is none: the index was never made, or is garbled."""
    found = _STATE.fullmatch(text)
    return found and IndexState(*map(int, found.groups()))


def encoded_index(seq: int, entries: Sequence[str]) -> str:
    """Return the whole string of an index with these entries, which is complete at change `seq`."""
    return IndexState(seq, len(entries), checksum_of(entries)).encoded() + "".join(entries)


def offset(entry: int) -> int:
    """Return the position of an entry in the string. entry: 0 for the first."""
    return STATE_LENGTH + ENTRY_DIGITS * entry
