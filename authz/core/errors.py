"""Faults: what stops a decision or a change from being made. A refusal is a value instead."""


class Fault(Exception):  # noqa: N818  the word of this package
    """The root, never raised itself."""


class Unavailable(Fault):
    """The answer is not known now and may be later: no store, no trust, an unreadable record."""


class Unreadable(Unavailable):
    """A record is there and cannot be understood: garbled, or written by a newer version."""


class UnknownPlan(Unavailable):
    """A key is of a plan that the settings do not have, so what it may use is not known."""


class Foreign(Unavailable):
    """The store answers and is not ours: made with other peppers, or of another schema."""


class OutcomeUnknown(Unavailable):
    """A change was sent and its answer was lost. Applying the same change again is safe."""


class Conflict(Fault):
    """The record was changed by somebody else since it was read."""


class AliasTaken(Fault):
    """The key was imported before: one of its digests leads to another kid."""

    def __init__(self, kid: str) -> None:
        super().__init__(f"the key was imported before, as {kid}")
        self.kid = kid


class NotFound(Fault):
    """No record has this kid."""


class BadInput(Fault):
    """A value that a person gave cannot be used. `field` names it, the text says what is wrong."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem
