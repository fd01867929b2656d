"""ImportIndex: the digests of all imported keys, so that other text costs no lookup."""

from collections.abc import Iterable

from authz.core.digest_index import DigestIndex


class ImportIndex:
    """A DigestSink. Above `max_digests` it holds nothing, and every digest has to be looked up.

    A key that was imported a moment ago is unknown here until the change feed has reported it.
    """

    def __init__(self, max_digests: int) -> None:
        self._max_digests = max_digests
        self._digests = DigestIndex()
        self._is_confirmed = False
        self._is_too_large = False

    def __len__(self) -> int:
        return len(self._digests)

    @property
    def is_confirmed(self) -> bool:
        """True while the digests are known to be those of the store."""
        return self._is_confirmed

    def excludes(self, digests: Iterable[bytes]) -> bool:
        """Return whether no imported key has any of these digests, as far as the feed has told."""
        return self._is_confirmed and not any(digest in self._digests for digest in digests)

    # DigestSink

    def restart(self) -> None:
        """See DigestSink."""
        self._is_confirmed = self._is_too_large = False
        self._digests.clear()

    def change(self, added: Iterable[bytes], removed: Iterable[bytes] = ()) -> None:
        """See DigestSink."""
        if self._is_too_large:
            return
        self._digests.remove(removed)
        self._digests.add(added)
        if len(self._digests) > self._max_digests:
            self._drop()

    def confirm(self, count: int, checksum: int) -> bool:
        """See DigestSink. Above the bound there is nothing to reload."""
        if count > self._max_digests:
            self._drop()
            return True
        found = (len(self._digests), self._digests.checksum)
        self._is_confirmed = not self._is_too_large and found == (count, checksum)
        return self._is_confirmed

    def _drop(self) -> None:
        self._digests.clear()
        self._is_confirmed, self._is_too_large = False, True
