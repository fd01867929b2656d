"""Seals of records and registry entries, as a client of the store makes and checks them.

A record without a seal is accepted until the store has sealed records only: authz:meta says so
after `authz reseal`, and from the start in a new store. Whoever may write the store may also remove
that word. So it counts until the end of a process that has read it, and `keys.require_seals` of the
settings counts always.
"""

from collections.abc import Callable, Mapping
from functools import cached_property

from authz.core.errors import BadSeal
from authz.core.seals import SEAL, EntrySeals, RecordSeals, Seal
from authz.storage import schema

WRONG = "its seal is wrong: it was changed without the pepper"
UNSEALED = "it has no seal: it was written by an earlier version, or without the pepper"


class StoreSeals:
    """The seals of one store. One object belongs to each client.

    read: returns the seals of records and of entries. It is called at the first use, because it
    reads the peppers. is_required: whether records without a seal are refused. It turns True when
    `note` sees a sealed store, and stays so.
    """

    def __init__(
        self, read: Callable[[], tuple[RecordSeals, EntrySeals]], *, is_required: bool = False
    ) -> None:
        self._read = read
        self.is_required = is_required

    @cached_property
    def _seals(self) -> tuple[RecordSeals, EntrySeals]:
        return self._read()

    @property
    def records(self) -> RecordSeals:
        """The seals of records. Raises BadInput if a pepper cannot be read."""
        return self._seals[0]

    @property
    def entries(self) -> EntrySeals:
        """The seals of registry entries. Raises BadInput if a pepper cannot be read."""
        return self._seals[1]

    def note(self, meta: Mapping[str, str]) -> None:
        """Take notice of authz:meta."""
        self.is_required = self.is_required or schema.META_SEALED in meta

    def check(self, kid: str, fields: Mapping[str, str]) -> None:
        """Raise BadSeal if the record of these fields may not be used. fields: all that are stored.

        It may with a right seal, and without one if none is required.
        """
        result = self.records.check(kid, fields)
        if result is Seal.ABSENT and self.is_required:
            raise BadSeal(f"record {kid}: {UNSEALED}")
        if result is Seal.WRONG:
            raise BadSeal(f"record {kid}: {WRONG}")
        if result is Seal.UNKNOWN:
            pepper = fields[SEAL].partition(":")[0][:1]
            known = pepper if pepper.isalnum() and pepper.isascii() else "?"
            raise BadSeal(f"record {kid}: it is sealed with pepper {known}, which is not here")


def seals_of(client: object) -> StoreSeals | None:
    """Return the `seals` that Endpoint.client set on a client; None: seals are not used."""
    return getattr(client, "seals", None)
