"""Conditions of a change of one key: the version it must have, and the rights of the caller."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from authz.core.errors import Conflict
from authz.core.records import KeyRecord

Guard = Callable[[KeyRecord, KeyRecord | None], None]
"""Raises NotFound or Forbidden if the caller may not make a change.

It gets the record before the change, first alone (None), and then with the record after it.
"""


def _allow(_before: KeyRecord, _after: KeyRecord | None) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Conditions:
    """Conditions of a change. They hold for the very record that the change is made on.

    version: that the record must have; None: any. dry_run: plan the change and do not make it.
    """

    guard: Guard = _allow
    version: int | None = None
    dry_run: bool = False

    def check(self, record: KeyRecord) -> None:
        """Call the guard with the record alone, then raise Conflict for another version.

        Passes on what the guard raises: NotFound or Forbidden.
        """
        self.guard(record, None)
        if self.version is not None and record.version != self.version:
            raise Conflict(f"{record.kid} is at version {record.version}, not {self.version}")


ANY: Final = Conditions()
