"""Entries of the audit trail: a change of a key, its author, its time and its reason."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from authz.core.records import Status


class Action(StrEnum):
    """The kind of a change."""

    ISSUE = "issue"
    IMPORT = "import"
    UPDATE = "update"
    ROTATE = "rotate"
    RETIRE = "retire"
    ROLL_BACK = "roll_back"
    HOLD = "hold"  # the overlap of a rotation lasts until somebody decides
    REVOKE = "revoke"
    DISABLE = "disable"
    ENABLE = "enable"
    RESET_LIMITS = "reset_limits"
    REFUND = "refund"
    DELETE = "delete"
    ERASE_USAGE = "erase_usage"  # no change of a record: core/trail/erasures.py
    LEAK = "leak"  # somebody reported the key; no change of a record either
    BUDGET = "budget"  # a budget passed a mark, such as 80 %; no change of a record either
    CANARY = "canary"  # somebody used a canary key; no change of a record either
    ROTATE_SIGNING_KEY = "rotate_signing_key"  # about tokens, not a key: core/trail/installation.py
    REMOVE_SIGNING_KEY = "remove_signing_key"
    CLEAR_BLOCKED_CLIENTS = "clear_blocked_clients"  # about no key either, as those below
    ALLOW_NETWORK = "allow_network"
    FORBID_NETWORK = "forbid_network"  # an allowed network was taken back
    REPLAY_EVENTS = "replay_events"


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One change. `at`: ms since the epoch. `detail`: values that JSON can hold.

    source, request_id: of the call of the admin API that made the change; empty for a command.
    """

    action: Action
    actor: str
    note: str
    at: int
    detail: Mapping[str, object]
    source: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An event in the trail: the version it made from `base_version` (0: the key was new)."""

    version: int
    base_version: int
    event: AuditEvent


@dataclass(frozen=True, slots=True)
class LoggedChange:
    """One change in the log of recent ones. at: ms since the epoch, by the store's clock."""

    version: int
    kid: str
    status: Status
    at: int
