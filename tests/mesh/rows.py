"""A line of the table that `make mesh` prints."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table."""

    name: str
    wanted: str
    seen: str

    @property
    def held(self) -> bool:
        """Return whether it is as wanted."""
        return self.wanted == self.seen
