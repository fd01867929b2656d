"""Ports of administration: the interfaces that its flows need and outer packages implement.

MUST marks an obligation of the implementation. A flow relies on it and cannot check it.
"""

from __future__ import annotations  # the types are for readers and checkers alone

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from authz.core.access import Caller, Credentials, Refusal
    from authz.core.audit import LoggedChange
    from authz.core.changes import KeyChange
    from authz.core.deletion import Removal, RemovedEntry
    from authz.core.errors import Deleted, Fault, Unreadable
    from authz.core.merging import Applied
    from authz.core.records import KeyRecord
    from authz.core.selector import Position
    from authz.core.sidecars import Heard


class KeyStore(Protocol):
    """Reads and changes records. Reads are current and may be slow."""

    async def find(self, kid: str) -> KeyRecord | None:
        """Return the record, or None if no key has the kid.

        Raises Unreadable if the record cannot be read, Unavailable if the store fails.
        """
        ...

    async def apply(self, change: KeyChange) -> int:
        """Apply a change atomically and return the new version.

        MUST do nothing if the change was applied before, and return the same version.
        Raises Conflict if the record is not at `change.base_version`, AliasTaken if an alias is
        another key's, Deleted if the key was deleted, OutcomeUnknown if the reply was lost,
        Unavailable if nothing was sent.
        """
        ...

    async def replicas(self, change: KeyChange, version: int) -> int | None:
        """Return how many replicas have a change that `apply` gave this version.

        None if the store has no replicas. Raises OutcomeUnknown if the store no longer has the
        change or does not reply.
        """
        ...


class BatchStore(Protocol):
    """Applies many changes at a time."""

    async def apply_all(self, changes: Sequence[KeyChange]) -> list[int | Fault]:
        """Apply each change as KeyStore.apply does. MUST apply changes of one key in order.

        The list has the version, or the fault that `apply` would raise, in the order of `changes`.
        Raises OutcomeUnknown if some changes may have been made, Unavailable if none was.
        """
        ...


class AppliedStore(Protocol):
    """Remembers the fields of keys as a file last declared them."""

    async def load(self) -> Mapping[str, Applied]:
        """Return the fields of all keys that were saved, by kid.

        Raises Unreadable if one is garbled or was written without the pepper, Unavailable if the
        store fails.
        """
        ...

    async def save(self, found: Mapping[str, Applied]) -> None:
        """Store the fields of these keys; others stay. Raises Unavailable if the store fails."""
        ...


class DeletionStore(Protocol):
    """Deletes keys."""

    async def entries(self, record: KeyRecord) -> Sequence[RemovedEntry]:
        """Return the key's entries in the audit trail, newest first, until one is missing.

        Raises Unavailable if the store fails.
        """
        ...

    async def delete(self, removal: Removal) -> int:
        """Delete a key atomically and return the number of this change.

        Sidecars MUST hear of it as of a revocation. The kid, and the digests of an imported key,
        MUST NOT be taken again. MUST do nothing if the key was deleted before, and return the
        number of the last change. MUST work on a full store. Raises Conflict if the record is at
        another version, OutcomeUnknown if the reply was lost, Unavailable if nothing was sent.
        """
        ...


class RequestStore(Protocol):
    """Remembers requests that may be repeated."""

    async def remember(self, name: str, entry: str, ms: int) -> str | None:
        """Store `entry` under `name` for `ms` and return None, or return the entry that is there.

        An entry that is there stays, with its own end.
        MUST be atomic. MUST reach every store that a later change reaches. Raises Unavailable if
        the store fails; then it may or may not have the entry.
        """
        ...


class SessionEnds(Protocol):
    """Remembers that sessions of the console were ended before their time."""

    async def ended(self, names: Sequence[str]) -> Sequence[int | None]:
        """Return for each name, in order, the time up to which its sessions are ended, or None.

        In milliseconds since the epoch. Raises Unavailable if the store fails.
        """
        ...

    async def end(self, name: str, until: int, ms: int) -> None:
        """End the sessions of this name that began until then. It is remembered for `ms`.

        MUST NOT bring ended sessions back. MUST work on a full store. Raises Unavailable if the
        store does not confirm it.
        """
        ...


class ImportStore(Protocol):
    """Writes imported keys, many at a time."""

    async def allow_imports(self) -> None:
        """Tell the sidecars to look up imported keys from now on.

        Raises Unavailable if the store does not confirm it.
        """
        ...

    async def resolve_all(self, digests: Sequence[Sequence[bytes]]) -> list[str | Deleted | None]:
        """Return for each key, in order, the kid of its first digest that is an alias.

        Without one it is Deleted, a value, if a key with one of the digests was deleted, else None.
        Raises Unavailable if the store fails.
        """
        ...

    async def apply_all(self, changes: Sequence[KeyChange]) -> list[int | Fault]:
        """Apply each change as BatchStore.apply_all does. MUST import a key by its first change.

        Raises OutcomeUnknown if some changes may have been made, Unavailable if none was.
        """
        ...


class RecordReader(Protocol):
    """Reads many records at once."""

    async def read(self, kids: Sequence[str]) -> Sequence[KeyRecord | Unreadable | None]:
        """Return for each kid, in order, its record, an Unreadable with the reason, or None.

        None: no record has this kid. Raises Unavailable if the store fails.
        """
        ...


class KeyIndex(RecordReader, Protocol):
    """Lists keys in order of creation. Reads are current and may be slow."""

    async def kids(
        self,
        client_id: str | None,
        after: Position | None,
        count: int,
        *,
        is_newest_first: bool = False,
    ) -> Sequence[Position]:
        """Return at most `count` positions of keys that follow `after`; None: from the first.

        is_newest_first: list them the other way round. client_id: list this client only; None: all.
        If a change ended early, the list of a client may have kids too many, or lack kids until the
        change is sent again. `after` need not be in the list.
        MUST cost about the same for every `after`. Raises Unavailable.
        """
        ...

    async def texts(
        self, kids: Sequence[str], fields: Sequence[str]
    ) -> Sequence[Sequence[str | None]]:
        """Return for each kid, in order, the stored texts of these fields of its record.

        fields: those that `Screen.fields` names. A text is None if there is none, or it cannot be
        read. Raises Unavailable if the store fails.
        """
        ...


class SidecarRegistry(Protocol):
    """Lists the sidecars."""

    async def find(self) -> tuple[int, list[Heard]]:
        """Return the number of the last change, and every sidecar that is remembered.

        MUST remember each sidecar for longer than it may serve what it cached. Raises Unavailable.
        """
        ...


class ChangeLog(Protocol):
    """Lists recent changes of keys, oldest first."""

    async def last(self) -> int:
        """Return the number of the last change, 0 if there was none. Raises Unavailable."""
        ...

    async def after(self, version: int, count: int) -> Sequence[LoggedChange] | None:
        """Return at most `count` changes after `version`; empty if `version` is the last one.

        None if some may be missing: the log does not go back to `version`. Raises Unavailable.
        """
        ...


class Authenticator(Protocol):
    """Identifies the callers of the administration API."""

    async def authenticate(self, credentials: Credentials) -> Caller | Refusal:
        """Return the caller, or the refusal of its credentials.

        MUST NOT raise for anything that a caller can send. MUST refuse several credentials in one
        request. MUST return UNAVAILABLE if it cannot find out whether a credential is good.
        """
        ...
