"""The audit trail: what was done to a key, by whom, when and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """What was done, in the audit trail."""

    ISSUE = "issue"
    IMPORT = "import"
    UPDATE = "update"
    ROTATE = "rotate"
    REVOKE = "revoke"
    DISABLE = "disable"
    ENABLE = "enable"
    RESET_LIMITS = "reset_limits"


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One line of the audit trail. `detail` holds what JSON can hold."""

    action: Action
    actor: str
    note: str
    at: int
    detail: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An event as the trail keeps it: which version it made, and of which (0: the key was new)."""

    version: int
    base_version: int
    event: AuditEvent
