"""May this process be asked? What every probe is told, over HTTP and over gRPC."""

from dataclasses import asdict

from authz.flows.keycache import KeyCache
from authz.storage.feed import ChangeFeed
from authz.storage.spending import SpendLink


class Readiness:
    """Whether this process should be asked, and what its parts say about that.

    In an outage of the store it should, while there is something to go on with. Else that outage
    would take every backend behind it out of service.
    """

    def __init__(self, feed: ChangeFeed, cache: KeyCache, limits: SpendLink) -> None:
        self._feed = feed
        self._cache = cache
        self._limits = limits
        self.leaving = ""  # why, once this process is on its way out

    def __call__(self) -> bool:
        """Should it be asked now?"""
        return not self.leaving and self._is_supplied

    def report(self) -> tuple[bool, dict[str, object]]:
        """That, and each part. A `reason` says what is wrong, also when it can be gone on with."""
        store, grace = asdict(self._feed.health()), self._cache.grace_left
        return self(), {
            "process": {"ready": not self.leaving, "reason": self.leaving},
            "store": {"ready": self._is_supplied} | store,
            "cache": {"entries": len(self._cache), "outage_grace_left": round(grace, 3)},
            # Its link is another, and can be refused alone. What then: limits.on_outage.
            "limits": {"counted": not self._limits.reason, "reason": self._limits.reason},
        }

    @property
    def _is_supplied(self) -> bool:
        return self._feed.health().trusted or self._cache.grace_left > 0
