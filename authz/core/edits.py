"""Edits: changes of a key that a command asks for, as values. Each one plans itself on a record.

A command makes them in the store or over the admin API, so they hold no record and no connection.
"""

from collections.abc import Callable
from dataclasses import dataclass

from authz.core import changes, deletion, secret_changes
from authz.core.changes import Author, Outcome, Refused
from authz.core.deletion import Removal
from authz.core.keys.credentials import Minted
from authz.core.limits.credits import CreditsChange
from authz.core.limits.limit import Limit
from authz.core.records import KeyRecord, RevocationReason
from authz.core.secret_changes import roll_back
from authz.core.updates import Updates

NO_SCOPES: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """Set some fields, add scopes, then remove scopes, then change the credits.

    credits_change: None: no further change of the limits.
    """

    fields: Updates
    add_scopes: frozenset[str] = NO_SCOPES
    remove_scopes: frozenset[str] = NO_SCOPES
    credits_change: CreditsChange | None = None

    def plan(self, record: KeyRecord, now: int, author: Author) -> Outcome:
        """Return the result of `changes.update`. now: ms since the epoch. Raises BadInput as it."""
        return changes.update(
            *(record, self.fields, author, now),
            add_scopes=self.add_scopes,
            remove_scopes=self.remove_scopes,
            credits_change=self.credits_change,
        )


@dataclass(frozen=True, slots=True)
class Rotate:
    """Add a secret. The live ones work for at most `grace_ms` more; with 0 they stop now.

    mint: makes the secret of a key. None: the executor of the edit makes it. to: the target that
    gets the new secret; "": the caller gets it.
    """

    grace_ms: int
    mint: Callable[[KeyRecord], Minted] | None = None
    to: str = ""

    def plan(self, record: KeyRecord, now: int, author: Author) -> Outcome:
        """Call `mint` and return the result of `rotate`. Raises TypeError without `mint`.

        now: ms since the epoch.
        """
        if self.mint is None:
            raise TypeError("a rotation is planned with the secret that it adds")
        return secret_changes.rotate(record, self.mint(record), self.grace_ms, author, now)


@dataclass(frozen=True, slots=True)
class Retire:
    """End one of two live secrets: `old`, `new`, or the number of a secret."""

    secret: str

    def plan(self, record: KeyRecord, now: int, author: Author) -> Outcome:
        """Return the result of `secret_changes.retire`. now: ms since the epoch."""
        return secret_changes.retire(record, self.secret, author, now)


@dataclass(frozen=True, slots=True)
class RollBack:
    """Undo the last rotation while both secrets work."""

    def plan(self, record: KeyRecord, now: int, author: Author) -> Outcome:
        """Return the result of `roll_back`. now: ms since the epoch."""
        return roll_back(record, author, now)


@dataclass(frozen=True, slots=True)
class Revoke:
    """Revoke the key, which is final."""

    reason: RevocationReason

    def plan(self, record: KeyRecord, now: int, author: Author) -> Outcome:
        """Return the result of `changes.revoke`. now: ms since the epoch."""
        return changes.revoke(record, self.reason, author, now)


@dataclass(frozen=True, slots=True)
class Disable:
    """Disable the key until it is enabled."""

    def plan(self, record: KeyRecord, now: int, author: Author) -> Outcome:
        """Return the result of `changes.disable`. now: ms since the epoch."""
        return changes.disable(record, author, now)


@dataclass(frozen=True, slots=True)
class Enable:
    """Enable a disabled key."""

    def plan(self, record: KeyRecord, now: int, author: Author) -> Outcome:
        """Return the result of `changes.enable`. now: ms since the epoch."""
        return changes.enable(record, author, now)


@dataclass(frozen=True, slots=True)
class ResetLimits:
    """Set the usage counters of the key to zero, not its credits and those of its pools."""

    def plan(self, record: KeyRecord, now: int, author: Author) -> Outcome:
        """Return the result of `changes.reset_limits`, which leaves the counters as they are.

        now: ms since the epoch. `LimitCounters.reset` sets the counters to zero.
        """
        return changes.reset_limits(record, author, now)


@dataclass(frozen=True, slots=True)
class Refund:
    """Give units of a budget of the key back. budget: its `limit` are the units."""

    budget: Limit

    def plan(self, record: KeyRecord, now: int, author: Author) -> Outcome:
        """Return the result of `changes.refund`, which leaves the counters as they are.

        now: ms since the epoch.
        """
        return changes.refund(record, self.budget, author, now)


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the key, for ever. is_forced: also if it is neither revoked nor expired."""

    is_forced: bool = False

    def plan(self, record: KeyRecord, now: int, author: Author) -> Removal | Refused:
        """Return the result of `deletion.delete` for a key without entries in the audit trail.

        now: ms since the epoch. It shows whether the deletion is permitted.
        """
        return deletion.delete(record, (), author, now, is_forced=self.is_forced)


Edit = (
    Update | Rotate | Retire | RollBack | Revoke | Disable | Enable | ResetLimits | Refund | Delete
)


def is_relative(edit: Edit) -> bool:
    """Return whether the edit made twice has another effect: it adds credits, or is a refund."""
    if isinstance(edit, Refund):
        return True
    change = edit.credits_change if isinstance(edit, Update) else None
    return change is not None and change.is_relative
