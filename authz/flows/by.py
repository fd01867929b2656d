"""By: the author of the changes of a command."""

import secrets
from dataclasses import dataclass

from authz.core.changes import Author


@dataclass(frozen=True, slots=True)
class By:
    """The author of changes, with all that `Author` holds but the id of one change."""

    actor: str
    note: str = ""
    source: str = ""
    request_id: str = ""

    def author(self) -> Author:
        """Return an author with a new random change id."""
        change_id = secrets.token_hex(16)
        return Author(change_id, self.actor, self.note, self.source, self.request_id)
