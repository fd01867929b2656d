"""The `abuse` section: clients that fail to authenticate too often."""

from typing import TYPE_CHECKING, Annotated

from authz.settings.parsers import Between
from authz.settings.sections import Section
from authz.settings.values import seconds

if TYPE_CHECKING:
    from authz.core.abuse import FailureBuckets


class Abuse(Section):
    """Failures by client address. failures_per_minute: 0 for any number."""

    failures_per_minute: Annotated[int, Between(0, 1_000_000)] = 600
    block: Annotated[float, seconds("10s", "1d")] = 600.0

    def buckets(self) -> "FailureBuckets":
        """Return the buckets of a sidecar, empty."""
        from authz.core.abuse import FailureBuckets  # noqa: PLC0415

        return FailureBuckets(self.failures_per_minute, round(self.block * 1000))
