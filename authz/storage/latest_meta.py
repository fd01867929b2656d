"""LatestMeta: the latest content of authz:meta that a process has read."""

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Final

from authz.storage import schema
from authz.storage.meta import (
    Form,
    form_of,
    has_imports,
    has_moved,
    signing_entries,
    unlisted_prefixes,
    verify,
)
from authz.storage.moves import Move, move_in

log = logging.getLogger("authz.store")

UNMARKED: Final = (
    "authz:meta no longer says that all records are sealed; records without a seal stay refused "
    "until a restart, and with keys.require_seals after it, too"
)


class LatestMeta:
    """The latest content of authz:meta. It is a PepperProof and an EntrySource.

    ours: fingerprints of our peppers, by version. is_current: returns whether the content still
    holds, which is while the store is trusted. prefixes: of the keys that are read. names: those of
    the partition. move: of a store with one partition to several, by the latest content. on_move:
    is called after `move` has changed.
    """

    def __init__(
        self,
        ours: Mapping[str, str],
        is_current: Callable[[], bool],
        prefixes: Collection[str] = (),
        names: schema.Names = schema.DEFAULT,
    ) -> None:
        self._prefixes = prefixes
        self._names = names
        self._warning = ""
        self._ours = ours
        self._is_current = is_current
        self._theirs: Mapping[str, str] | None = None
        self._imports: bool | None = None
        self._is_sealed = False
        self.may_have_moved = True  # False if the latest content says that no key is moved
        self.form = Form.HASHES  # of the records, by the latest content
        self.move: Move | None = None
        self.on_move: Callable[[], None] = lambda: None
        self.signing: Mapping[str, str] = {}

    @property
    def is_sealed(self) -> bool:
        """True once authz:meta had the mark that records without a seal are refused.

        It stays True: a writer of the store can also remove that mark.
        """
        return self._is_sealed

    @property
    def is_current(self) -> bool:
        """Whether the content still holds."""
        return self._is_current()

    def update(self, meta: Mapping[str, str]) -> None:
        """Take new content. Raises as `verify`; then peppers and imports count as unknown.

        The entries of signing keys then stay: cached records may be served stale. Logs a warning
        when the problem with unlisted prefixes or with seals changes.
        """
        self._theirs = self._imports = None
        self._look_for_move(meta)
        self._theirs = verify(meta, self._ours, self._names)
        self._imports = has_imports(meta)
        self.may_have_moved = has_moved(meta)
        self.form = form_of(meta.get(schema.META_COMPACT))
        signing = signing_entries(meta)
        if signing != self.signing:  # another object tells readers of a change
            self.signing = signing
        has_mark = schema.META_SEALED in meta
        warning = unlisted_prefixes(meta, self._prefixes)
        if self._is_sealed and not has_mark:
            warning = f"{warning}; {UNMARKED}" if warning else UNMARKED
        self._is_sealed = self._is_sealed or has_mark
        if warning != self._warning:
            self._warning = warning
            if warning:
                log.warning("%s", warning)

    def _look_for_move(self, meta: Mapping[str, str]) -> None:
        move = move_in(meta) if self._names.partitions == 1 else None
        if move != self.move:
            self.move = move
            self.on_move()

    def note_import(self) -> None:
        """Note that a key was imported, until the next `update`."""
        self._imports = True

    def refutes(self, pepper_version: str) -> bool:
        """Return whether a wrong tag under this pepper version proves that the key was forged.

        False if the store's peppers are unknown, or if the store has this version and ours of it is
        missing. If the store lacks the version: whether the content is current. See PepperProof.
        """
        if self._theirs is None:
            return False
        theirs = self._theirs.get(pepper_version)
        if theirs is None:  # somebody may have added this pepper since
            return self._is_current()
        return theirs == self._ours.get(pepper_version)

    def has_imports(self) -> bool | None:
        """Return whether keys were ever imported; None while that is unknown.

        True once an import was seen, also without trust. False only while the content is current.
        """
        return self._imports if self._imports or self._is_current() else None
