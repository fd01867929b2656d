"""Faults: exceptions that prevent a decision or a change. A refusal is a value instead."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from authz.core.records import KeyRecord


class Fault(Exception):  # noqa: N818  the word of this package
    """The base class. It is never raised itself."""


class Unavailable(Fault):
    """The result is unknown now: no store, no trust, or an unreadable record. Try again later."""


class Unreadable(Unavailable):
    """A record exists and cannot be read: it is garbled, or a newer version wrote it."""


class Elsewhere(Unavailable):
    """The record lies in another partition of the store than the one that was asked: a moved key.

    partition: its number.
    """

    def __init__(self, partition: int) -> None:
        super().__init__(f"the record lies in partition {partition}")
        self.partition = partition


class BadSeal(Unreadable):
    """A record or applied entry has a wrong seal, or none though the store has only sealed ones.

    record: as it is stored, for its revocation alone; None if it cannot be decoded, or has
    the version of no change.
    """

    record: "KeyRecord | None" = None


class Frozen(Unavailable):
    """The store refused a change and made none of it: it is being moved to more partitions.

    A value of another type than ours gives the same answer.
    """


class NoSuchMethod(Unavailable):
    """The server is of another version and lacks the method."""


class UnknownPlan(Unavailable):
    """The settings lack the plan of a key, so its limits are unknown."""


class UnknownPrice(Unavailable):
    """The settings have no prices in force, so the use of a budget of money is unknown."""


class Foreign(Unavailable):
    """The store belongs to another installation: it has other peppers or another schema."""


class OutcomeUnknown(Unavailable):
    """A change or count was sent and its reply was lost. Sending the same change again is safe."""


class Conflict(Fault):
    """Another change of the record came first: the record is not at the expected version."""


class LateConflict(Conflict):
    """The reply to a change was lost, and the record was changed since: it may have been made."""


class AliasTaken(Fault):
    """The key was imported before: one of its digests is an alias of another kid."""

    def __init__(self, kid: str) -> None:
        super().__init__(f"the key was imported before, as {kid}")
        self.kid = kid


class Deleted(Fault):
    """The key was deleted. It cannot come back."""

    def __init__(self) -> None:
        super().__init__("the key was deleted here, which is final; it cannot come back")


class NotFound(Fault):
    """No record has this kid, or the caller may not know that there is one."""


class Forbidden(Fault):
    """The caller may see the key, and may not do this with it."""


class BadInput(Fault):
    """A value from a person cannot be used. `field` names it; `problem` says why."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class BadSettings(BadInput):
    """Settings with mistakes, at least one.

    `mistakes` has them all. The text shows the first, and the number of the others.
    """

    def __init__(self, mistakes: Sequence[BadInput]) -> None:
        first, *rest = mistakes
        more = f"; {len(rest)} more: `authz config check` lists all" if rest else ""
        super().__init__(first.field, first.problem + more)
        self.mistakes = tuple(mistakes)
