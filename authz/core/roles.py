"""Roles of the administration API, and the actions that each may take.

| action | viewer | issuer | admin | auditor |
| --- | --- | --- | --- | --- |
| read_keys | yes | yes | yes | yes |
| create | - | yes | yes | - |
| update | - | - | yes | - |
| narrow | - | yes | yes | - |
| rotate | - | yes | yes | - |
| retire | - | yes | yes | - |
| revoke | - | yes | yes | - |
| disable | - | yes | yes | - |
| enable | - | - | yes | - |
| delete | - | - | yes | - |
| import | - | - | yes | - |
| export | - | - | yes | yes |
| verify | yes | yes | yes | - |
| read_limits | yes | yes | yes | yes |
| reset_limits | - | - | yes | - |
| read_usage | yes | yes | yes | yes |
| erase_usage | - | - | yes | - |
| read_audit | - | - | yes | yes |
| verify_audit | - | - | unbound | unbound |
| read_fleet | unbound | unbound | unbound | unbound |
| watch | yes | yes | yes | yes |
| issue_tokens | - | yes | yes | - |
| read_sinks | - | - | unbound | unbound |
| replay_events | - | - | unbound | - |
| read_signing_keys | unbound | unbound | unbound | unbound |
| manage_signing_keys | - | - | unbound | - |
| manage_policy | - | - | unbound | - |

`unbound`: only without tenants and projects, because the action concerns the whole installation.
`narrow`: an update that only takes rights away. An issuer gives keys to new holders and takes
rights away. It cannot give an existing key more rights.
"""

from enum import StrEnum
from typing import Final

SCOPE_PREFIX: Final = "authz:"


class Role(StrEnum):
    """A set of actions. The scope of a role makes one of our keys a credential of this API."""

    VIEWER = "viewer"
    ISSUER = "issuer"
    ADMIN = "admin"
    AUDITOR = "auditor"

    @property
    def scope(self) -> str:
        """The scope that gives a key this role, such as `authz:viewer`."""
        return f"{SCOPE_PREFIX}{self.value}"


class Action(StrEnum):
    """An action of the administration API."""

    READ_KEYS = "read_keys"
    CREATE = "create"
    UPDATE = "update"
    NARROW = "narrow"  # an update that only takes rights away: core/narrowing.py
    ROTATE = "rotate"
    RETIRE = "retire"
    REVOKE = "revoke"
    DISABLE = "disable"
    ENABLE = "enable"
    DELETE = "delete"
    IMPORT = "import"
    EXPORT = "export"
    VERIFY = "verify"
    READ_LIMITS = "read_limits"
    RESET_LIMITS = "reset_limits"
    READ_USAGE = "read_usage"
    ERASE_USAGE = "erase_usage"
    READ_AUDIT = "read_audit"
    VERIFY_AUDIT = "verify_audit"
    READ_FLEET = "read_fleet"
    WATCH = "watch"
    ISSUE_TOKENS = "issue_tokens"
    READ_SINKS = "read_sinks"
    REPLAY_EVENTS = "replay_events"
    READ_SIGNING_KEYS = "read_signing_keys"
    MANAGE_SIGNING_KEYS = "manage_signing_keys"
    MANAGE_POLICY = "manage_policy"


class OwnAction(StrEnum):
    """An action that the holder of a key may take on this key."""

    READ = "read"
    ROTATE = "rotate"
    REVOKE = "revoke"


_READ: Final = frozenset(
    {
        *(Action.READ_KEYS, Action.READ_LIMITS, Action.READ_USAGE, Action.READ_FLEET, Action.WATCH),
        Action.READ_SIGNING_KEYS,
    }
)
_AUDIT: Final = frozenset(
    {Action.READ_AUDIT, Action.VERIFY_AUDIT, Action.EXPORT, Action.READ_SINKS}
)
_TAKE_AWAY: Final = frozenset({Action.RETIRE, Action.REVOKE, Action.DISABLE, Action.NARROW})

ALLOWED: Final[dict[Role, frozenset[Action]]] = {
    Role.VIEWER: _READ | {Action.VERIFY},
    Role.ISSUER: (
        _READ | _TAKE_AWAY | {Action.VERIFY, Action.CREATE, Action.ROTATE, Action.ISSUE_TOKENS}
    ),
    Role.ADMIN: frozenset(Action),
    Role.AUDITOR: _READ | _AUDIT,
}
"""The actions of each role, within its tenants and projects."""

UNBOUND: Final = frozenset(
    {
        *(Action.VERIFY_AUDIT, Action.READ_FLEET, Action.MANAGE_POLICY),
        *(Action.READ_SINKS, Action.REPLAY_EVENTS),
        *(Action.READ_SIGNING_KEYS, Action.MANAGE_SIGNING_KEYS),
    }
)
"""Actions on the whole installation. A binding with tenants or projects does not allow them."""

READING: Final = _READ | _AUDIT | {Action.VERIFY}
"""Actions that change nothing and reveal no secret."""
