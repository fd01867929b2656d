"""The `leaks` section: the treatment of keys that somebody reports as leaked."""

from typing import TYPE_CHECKING, Annotated, Literal

from authz.settings.parsers import Between
from authz.settings.sections import Section
from authz.settings.values import File, seconds

if TYPE_CHECKING:
    from authz.core.leaks import Response

Word = Literal["revoke", "disable", "rotate", "notify"]


class Leaks(Section):
    """Reports of leaked keys to `authz admin`."""

    github: bool = False
    secret_file: File | None = None
    live: Word = "revoke"
    test: Word = "revoke"
    rotate_overlap: Annotated[float, seconds("0s", "7d")] = 3600.0
    max_per_hour: Annotated[int, Between(0, 1_000_000)] = 100

    def responses(self) -> "dict[str, Response]":
        """Return the treatment by environment."""
        from authz.core.leaks import Response  # noqa: PLC0415

        return {"live": Response(self.live), "test": Response(self.test)}
