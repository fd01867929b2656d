"""Events of the audit trail that are no change of a record."""

from collections.abc import Mapping

from authz.core.audit import Action, AuditEvent
from authz.core.changes import Author


def note_event(action: Action, author: Author, at: int, detail: Mapping[str, object]) -> AuditEvent:
    """Return the event of something that an author does. at: ms since the epoch."""
    return AuditEvent(
        action, author.actor, author.note, at, detail, author.source, author.request_id
    )
