"""Seals of records, registry entries and applied fields, as a client of the store checks them.

A record without a seal is accepted until the store has sealed records only: authz:meta has a
mark for that after `authz reseal`, and from the start in a new store. The same holds for applied
fields. A writer of the store can also remove the mark. So it counts until the end of a process that
has read it, and `keys.require_seals` of the settings counts always.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from authz.core.errors import BadSeal
from authz.core.seals import SEAL, AppliedSeals, EntrySeals, RecordSeals, Seal
from authz.storage import schema

WRONG = "its seal is wrong: it was changed without the pepper"
UNSEALED = "it has no seal: it was written by an earlier version, or without the pepper"


class StoreSeals:
    """The seals of one store. One object belongs to each client.

    read: returns the seals of records, of entries and of applied fields. It is called at the first
    use, because it reads the peppers. is_required: whether records and applied fields without a
    seal are refused. It turns True when `note` sees a sealed store, and stays so.
    """

    def __init__(
        self,
        read: Callable[[], tuple[RecordSeals, EntrySeals, AppliedSeals]],
        *,
        is_required: bool = False,
    ) -> None:
        self._read = read
        self.is_required = is_required

    @cached_property
    def _seals(self) -> tuple[RecordSeals, EntrySeals, AppliedSeals]:
        return self._read()

    @property
    def records(self) -> RecordSeals:
        """The seals of records. Raises BadInput if a pepper cannot be read."""
        return self._seals[0]

    @property
    def entries(self) -> EntrySeals:
        """The seals of registry entries. Raises BadInput if a pepper cannot be read."""
        return self._seals[1]

    @property
    def applied(self) -> AppliedSeals:
        """The seals of applied fields. Raises BadInput if a pepper cannot be read."""
        return self._seals[2]

    def note(self, meta: Mapping[str, str]) -> None:
        """Take notice of authz:meta."""
        self.is_required = self.is_required or schema.META_SEALED in meta

    def check(self, kid: str, fields: Mapping[str, str]) -> None:
        """Raise BadSeal if the record of these fields may not be used. fields: all that are stored.

        A record may be used with a right seal, and without a seal if none is required.
        """
        if why := self._problem(self.records.check(kid, fields), fields):
            raise BadSeal(f"record {kid}: {why}")

    def problem_of_applied(self, kid: str, members: Mapping[str, Any]) -> str:
        """Return why these applied fields may not be used, by the rule of `check`, or ""."""
        return self._problem(self.applied.check(kid, members), members)

    def _problem(self, result: Seal, found: Mapping[str, Any]) -> str:
        """Return the reason against `found`, whose seal has this result, or ""."""
        if result is Seal.ABSENT and self.is_required:
            return UNSEALED
        if result is Seal.WRONG:
            return WRONG
        if result is Seal.UNKNOWN:
            pepper = found[SEAL].partition(":")[0][:1]
            known = pepper if pepper.isalnum() and pepper.isascii() else "?"
            return f"it is sealed with pepper {known}, which is not here"
        return ""


def seals_of(client: object) -> StoreSeals | None:
    """Return the `seals` that Endpoint.client set on a client; None: seals are not used."""
    return getattr(client, "seals", None)
