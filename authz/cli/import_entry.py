"""One entry of an import, and the names that its fields may have."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from authz.cli.import_fields import ALIASES, FIELDS
from authz.core.errors import BadInput

IGNORED: Final = "-"  # --map COLUMN=-
IN_METADATA: Final = "metadata."


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. number: of its line, or of its place in a list, from 1.

    size: bytes read for it; in a list about the average. given: its fields. None if it is empty or,
    with the problem, if it cannot be read.
    """

    number: int
    size: int
    given: Mapping[str, Any] | None = field(default=None, repr=False)
    problem: BadInput | None = None


def is_field(name: str) -> bool:
    """Return whether entries may have a field of this name, also below `metadata`."""
    return name in FIELDS or name in ALIASES or name.startswith(IN_METADATA)
